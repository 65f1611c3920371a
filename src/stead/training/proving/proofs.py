"""Proofs before training: mask, labels, packing and accumulation, on the user's own model and rows.

Knows nothing about the loop. Costs a few forward and backward passes over eight short rows; finds
what a falling loss hides. What fails ends the run with the reason, unless `trainer.allow` names it; a
family that cannot be packed exactly is run row by row instead.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import DataError, SteadError, TrainingError
from stead.core.events import Emit, Note, ignore
from stead.data.proof import Proof
from stead.training.loop.build import build
from stead.training.loop.parts import Learning, Parts, TrainerSettings
from stead.training.proving.proof_numbers import check_accumulation, check_packing
from stead.training.proving.proof_rows import check_masks, check_row_labels
from stead.training.stepping import oom
from stead.training.stepping.world import World
from stead.values import LoadedModel, PreparedData

NAME = "proofs.json"
_LOOKED = 256  # rows among which short ones are sought
_ROWS, _TOKENS = 8, 1024  # that go through the model


def prove(parts: Parts, *, stop: bool = True) -> list[Proof]:
    """Check everything; write `proofs.json`; stop what must not go on, unless told not to.

    Raises: DataError("mask-proof-failed" | "labels-proof-failed"),
    TrainingError("packing-proof-failed" | "accumulation-proof-failed").
    """
    if parts.world.sharded:
        parts.emit(
            Note(stage="train", code="proofs", message="no proofs: no process has whole weights")
        )
        return []
    began = time.monotonic()
    rows = _short_rows(parts)
    found = [_allowed(parts, p) for p in (
        _guarded("mask", lambda: check_masks(parts)),
        _guarded("labels", lambda: check_row_labels(parts, rows)),
        _guarded("packing", lambda: check_packing(parts, rows)),
        _guarded("accumulation", lambda: check_accumulation(parts, rows)),
    )]  # fmt: skip
    seconds = round(time.monotonic() - began, 3)
    if parts.world.leads:
        files.write_json(
            parts.run_dir / NAME,
            {"proofs": [asdict(p) for p in found], "rows": rows, "seconds": seconds},
        )
    _tell(parts, found, seconds)
    failed = next((one for one in found if one.state == "failed"), None)
    if stop and failed is not None:
        raise _error(failed)
    return found


def rehearse(
    trainer: TrainerSettings, learning: Learning, prepared: PreparedData, loaded: LoadedModel,
    emit: Emit = ignore,
) -> list[dict[str, Any]]:  # fmt: skip  # Any: JSON values
    """Build a run, prove it, and leave nothing behind: what `stead plan --proofs` shows."""
    with tempfile.TemporaryDirectory(prefix="stead-proofs-") as folder:
        parts = build(trainer, learning, prepared, loaded, Path(folder), emit, {}, World())
        try:
            return [asdict(one) for one in prove(parts, stop=False)]
        finally:
            parts.stepper.close()
            parts.log.close()


def _guarded(name: str, check: Callable[[], Proof]) -> Proof:
    """Run a check; one that itself runs out of memory proves nothing and stops nothing."""
    try:
        with oom.typed(f"the {name} proof"):
            return check()
    except oom.OutOfMemory as error:
        return Proof(name, "not-run", error.message)


def _allowed(parts: Parts, found: Proof) -> Proof:
    if found.state == "failed" and found.name in parts.trainer.allow:
        return Proof(found.name, "allowed", found.message, found.figures)
    return found


def _tell(parts: Parts, found: list[Proof], seconds: float) -> None:
    for one in found:
        if one.state in ("failed", "allowed", "switched") or one.figures.get("odd"):
            parts.emit(Note(stage="train", level="warning", code=f"proof-{one.name}", message=one.message))  # fmt: skip
    states = ", ".join(f"{one.name} {one.state}" for one in found)
    told = f"proofs in {seconds:.1f} s: {states}"
    if all(one.state == "not-run" for one in found):
        told = f"no proofs: {found[0].message}"
    parts.emit(Note(stage="train", code="proofs", message=told))


def _error(failed: Proof) -> SteadError:
    hint = f"stead train RECIPE -s 'trainer.allow=[{failed.name}]'"
    errors = {
        "mask": DataError("mask-proof-failed", failed.message, hint=hint),
        "labels": DataError("labels-proof-failed", failed.message, hint=hint),
        "packing": TrainingError("packing-proof-failed", failed.message, hint=hint),
        "accumulation": TrainingError("accumulation-proof-failed", failed.message, hint=hint),
    }
    return errors[failed.name]


def _short_rows(parts: Parts) -> list[int]:
    """Choose a few short rows with something to learn, in a fixed way."""
    lengths = parts.train.lengths[:_LOOKED]
    masks = [store.mask for store in parts.train.stores.values()]
    usable = [r for r in range(len(lengths)) if all(mask(r)[1:].any() for mask in masks)]
    chosen: list[int] = []
    total = 0
    for row in sorted(usable, key=lambda r: (int(lengths[r]), r)):
        if len(chosen) == _ROWS or (chosen and total + int(lengths[row]) > _TOKENS):
            break
        chosen.append(row)
        total += int(lengths[row])
    return sorted(chosen)
