"""Save a run's state and go back to it: what a checkpoint holds, and what must be equal.

Knows nothing about the loop.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stead.core import files
from stead.core.errors import ConfigError, ResourceError, TrainingError
from stead.core.events import Note
from stead.models import checkpoint
from stead.training.callback import Run
from stead.training.loop.parts import Learning, Parts, Resume, TrainerSettings
from stead.training.method import Kept
from stead.training.saving import fingerprint, forked
from stead.training.watching import watchers

_GROUPS = ("model", "optimizer", "extra")
_REWINDS = 5  # in one run; then it is given up
_NO_MATTER = (
    "keep",
    "log_every",
    "samples",
    "trackers",
    "proofs",
    "allow",
)  # settings that change no bit of the result


def print_of(parts: Parts) -> dict[str, Any]:
    """Return the fingerprint: everything that must be equal for the same bits."""
    asked = parts.method.unrepeatable()
    return ({"asked": asked} if asked else {}) | fingerprint.fingerprint(
        model=str(parts.lineage.get("base_hash") or parts.loaded.meta.get("hash", "")),
        data=parts.prepared.hash,
        config=settings_hash(parts),
        library=str(parts.loaded.meta.get("transformers", "")),
        device=parts.loaded.device,
        dtype=parts.loaded.dtype,
        lanes=parts.lanes,
        world=parts.world.size,
    )


def settings_hash(parts: Parts) -> str:
    """Return the SHA-256 of every setting that decides the result."""
    return hash_of(parts.trainer, parts.learning)


def hash_of(trainer: TrainerSettings, learning: Learning) -> str:
    """Return the same before a run is built."""
    return files.hash_value(_settings(trainer, learning))


def _settings(trainer: TrainerSettings, learning: Learning) -> dict[str, Any]:
    names = [n for n in dir(TrainerSettings) if n[0] != "_" and n not in _NO_MATTER]
    return {n: getattr(trainer, n) for n in names} | {
        "method": dict(learning.method_config, type=learning.method),
        "adapter": dict(learning.adapter_config, type=learning.adapter),
    }


def refuse_early(parts: Parts, resume: Resume) -> None:
    """Refuse what `resume_run` would refuse, before minutes go into proofs. Reads one small file.

    Raises: ConfigError("run-exists"), CheckpointError("fingerprint-changed").
    """
    folders = sorted(parts.checkpoints.glob(f"{checkpoint.PREFIX}*"))
    values = checkpoint.peek(folders[-1]) if folders else None
    if values is None:
        return  # there is none, or it is damaged: it will be set aside, and an older one counts
    if resume is False:
        raise _exists(parts, values["step"])
    _level(parts, values, "exact" if resume is True else resume)


def _exists(parts: Parts, step: int) -> ConfigError:
    return ConfigError(
        "run-exists",
        f"{str(parts.run_dir)!r} holds checkpoints up to step {step}; nothing is overwritten",
        hint=f"stead runs resume {shlex.quote(str(parts.run_dir))}",
    )


def _level(parts: Parts, values: Mapping[str, Any], allowed: str) -> str:
    """Return the level at which this run may go on from a checkpoint. Raises: CheckpointError."""
    origin = forked.read(parts.run_dir)
    if origin is not None and origin.step == values["step"]:  # what was asked to change may
        allowed = fingerprint.LEVELS[-1]
    told = _changes(values.get("settings"), _settings(parts.trainer, parts.learning))
    return fingerprint.check(values["fingerprint"], print_of(parts), allowed, told, parts.run_dir)


def _changes(saved: Any, present: Any, key: str = "") -> str:  # Any: JSON values
    """Name the settings that differ: "adapter.r: 16 → 4"; "" when nothing was saved to compare with."""
    if saved is None and not key:
        return ""
    present = json.loads(json.dumps(present)) if not key else present
    if isinstance(saved, dict) and isinstance(present, dict):
        inner = (_changes(saved.get(k), present.get(k), f"{key}.{k}".lstrip("."))
                 for k in sorted(saved.keys() | present.keys()))  # fmt: skip
        return ", ".join(filter(None, inner))
    name = key if "." in key else f"trainer.{key}"
    return "" if saved == present else f"{name}: {saved!r} → {present!r}"


def resume_run(parts: Parts, resume: Resume) -> None:
    """Go back to the newest good checkpoint, or start at the beginning and say so."""
    parts.callbacks = watchers.callbacks(parts)
    with parts.world.first():  # damaged folders are set aside by one of us
        found = checkpoint.newest(parts.checkpoints, parts.emit)
    if resume is False:
        if found is not None:
            raise _exists(parts, found.step)
        parts.adjustments.clear()
        parts.log.rewind({"bytes": 0, "sha256": _EMPTY})
        return
    if found is None:
        parts.adjustments.read(parts.adjustments.values())
        parts.log.rewind({"bytes": 0, "sha256": _EMPTY})
        parts.emit(Note(stage="train", code="nothing-to-resume",
                        message="nothing was saved yet: training starts at the beginning"))  # fmt: skip
        return
    _restore(parts, found.path, "exact" if resume is True else resume, found)


_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing


def _restore(parts: Parts, path: Path, allowed: str, found: Any) -> None:
    state = checkpoint.load(found, _GROUPS)
    parts.adjustments.read(state.values["adjustments"])
    origin = forked.read(parts.run_dir)
    begins = origin is not None and origin.step == found.step  # what was asked to change may
    level = _level(parts, state.values, allowed)
    _put_back(parts, state)
    parts.start, parts.tokens = found.step, state.values["tokens"]
    parts.resumes = list(state.values["resumes"])
    if level != "exact":
        parts.resumes.append({"step": found.step, "level": level})
    if origin is not None:
        parts.lineage["fork"] = {"run": origin.run, "step": origin.step, "changes": origin.changes}
    if origin is not None and begins:
        parts.emit(Note(stage="train", code="forked",
                        message=f"a fork of {origin.run} after step {origin.step}; changed: {origin.told()}"))  # fmt: skip
    parts.emit(Note(stage="train", code="resumed",
                    message=f"resumed after step {found.step} of {parts.steps.total} (level: {level})"))  # fmt: skip


def _put_back(parts: Parts, state: checkpoint.State) -> None:
    cut = parts.shares.cut
    parts.optimizer.restore(cut(state.tensors["model"]), cut(state.tensors["optimizer"]))
    _restore_extra(parts, state)
    parts.stepper.scaler.scale = state.values["scaler"]["scale"]
    parts.stepper.scaler.good = state.values["scaler"]["good"]
    parts.log.rewind(state.values["log"])


def wants_rewind(parts: Parts) -> bool:
    """Say whether a policy of the run may go back, so that its very start must be saved."""
    return "rewind" in (parts.trainer.on_nan, parts.trainer.on_spike)


def rewind(parts: Parts, run: Run) -> None:
    """Go back to the newest checkpoint that was due before the bad step; leave out all rows since.

    Only checkpoints that every run has count, not those of an interruption: so a run that was
    stopped on the way rewinds to the same step. Raises: TrainingError("not-recovering").
    """
    bad = run.step - 1
    due = bad - bad % parts.every
    if len(parts.adjustments.skips) >= _REWINDS:
        raise TrainingError(
            "not-recovering",
            f"the run went back {_REWINDS} times, and step {bad + 1} is bad again: {run.rewind}",
            hint="stead train --out another-folder -s trainer.lr=1e-5",
        )
    with parts.world.first():
        if parts.world.leads:
            checkpoint.forget_after(parts.checkpoints, due)
        found = checkpoint.newest(parts.checkpoints, parts.emit)
    if found is None:
        raise TrainingError("no-checkpoint", f"step {bad + 1} is bad and nothing was saved before it: {run.rewind}")  # fmt: skip
    parts.adjustments.skip(found.step, bad)
    state = checkpoint.load(found, _GROUPS)
    _put_back(parts, state)
    run.step, run.tokens, run.epoch = found.step, state.values["tokens"], parts.steps.epoch_at(found.step)  # fmt: skip
    parts.emit(Note(stage="train", level="warning", code="rewound",
                    message=f"went back to step {found.step}; the rows of steps {found.step + 1} to {bad + 1} are left out"))  # fmt: skip


def _restore_extra(parts: Parts, state: checkpoint.State) -> None:
    owned: dict[str, dict[str, Any]] = {"method": {}, "adapter": {}, "callback": {}}
    for name, tensor in state.tensors["extra"].items():
        owner, own = name.split(".", 1)
        owned[owner][own] = tensor
    parts.adapter.restore(owned["adapter"], state.values["adapter"])
    parts.method.restore(Kept(owned["method"], state.values["method"]))
    watchers.restore(parts, state.values["callbacks"], owned["callback"])


def save(parts: Parts, run: Run) -> None:
    """Commit a checkpoint of this step, then retire old ones."""
    method, (tensors_of_adapter, values_of_adapter) = parts.method.state(), parts.adapter.state()
    values = {
        "step": run.step,
        "method": method.values,
        "adapter": values_of_adapter,
        "tokens": run.tokens,
        "scaler": {"scale": parts.stepper.scaler.scale, "good": parts.stepper.scaler.good},
        "log": parts.log.position(),
        "callbacks": {n: c.state() for n, c in parts.callbacks.items()},
        "fingerprint": print_of(parts),
        "settings": _settings(parts.trainer, parts.learning),
        "resumes": parts.resumes,
        "adjustments": parts.adjustments.values(),
    }
    extra = {f"method.{n}": t for n, t in method.tensors.items()}
    extra |= {f"adapter.{n}": t for n, t in tensors_of_adapter.items()}
    extra |= watchers.tensors(parts)
    tensors = {
        "model": parts.shares.whole(parts.optimizer.weights()), "optimizer": parts.shares.whole(parts.optimizer.state()), "extra": extra,
    }  # fmt: skip
    if parts.world.leads:
        _refuse_broken(tensors["model"], run.step)
        _write(parts, run.step, checkpoint.State(tensors, values))
    parts.world.wait()


def _write(parts: Parts, step: int, state: checkpoint.State) -> None:
    try:
        checkpoint.save(parts.checkpoints, step, state, parts.emit)
        due = {step - step % parts.every} if wants_rewind(parts) else set()
        checkpoint.retire(parts.checkpoints, parts.trainer.keep, due)
    except ResourceError as error:
        raise ResourceError(
            error.code,
            f"{error.message}; training paused at step {step}, the last good checkpoint stays",
            hint=f"stead runs resume {shlex.quote(str(parts.run_dir))}",
            **error.details,
        ) from error


def _refuse_broken(weights: Mapping[str, torch.Tensor], step: int) -> None:
    """Keep weights that are no numbers out of checkpoints: the last good one must be good."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                "weights-not-finite",
                f"after step {step} the weight {name!r} holds NaN or infinity; it is not saved",
                hint="stead train --out another-folder -s trainer.lr=1e-5",
                step=step,
            )
