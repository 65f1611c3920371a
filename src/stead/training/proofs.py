"""Proofs before training: mask, labels, packing and accumulation, on the user's own model and rows.

Knows nothing about the loop. Costs a few forward and backward passes over eight short rows; finds
what a falling loss hides. What fails ends the run with the reason, unless `trainer.allow` names it; a
family that cannot be packed exactly is run row by row instead.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stead.core import files
from stead.core.errors import DataError, SteadError, TrainingError
from stead.core.events import Note
from stead.data import proof as rules
from stead.data.pack import IGNORED
from stead.data.prepare import read_rows
from stead.data.proof import Finding, Judge, Turns
from stead.data.row import Row
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.models.learner import Learner
from stead.training import oom
from stead.training.parts import Parts

NAME = "proofs.json"
_CHECKED = 32  # rows whose masks are looked at
_LOOKED = 256  # rows among which short ones are sought
_ROWS, _TOKENS = 8, 1024  # that go through the model
_CLOSE = {torch.float32: 1e-5, torch.float64: 1e-9}  # rounding, as a share of the largest gradient
_HALF = 0.05  # 8 bits of mantissa, added up in another order
_LEAK = {torch.float32: 1e-5, torch.float64: 1e-9}
_LEAK_HALF = 4e-3  # one unit in the last place of bf16


@dataclass(frozen=True, slots=True)
class Proof:
    """What one check found. `state`: passed, failed, allowed, switched or not-run."""

    name: str
    state: str
    message: str
    figures: dict[str, float] = field(default_factory=dict)


def prove(parts: Parts) -> list[Proof]:
    """Check everything; write `proofs.json`; stop what must not go on.

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
        _guarded("mask", lambda: _mask(parts)),
        _guarded("labels", lambda: _labels(parts, rows)),
        _guarded("packing", lambda: _packing(parts, rows)),
        _guarded("accumulation", lambda: _accumulation(parts, rows)),
    )]  # fmt: skip
    seconds = round(time.monotonic() - began, 3)
    if parts.world.leads:
        files.write_json(
            parts.run_dir / NAME,
            {"proofs": [asdict(p) for p in found], "rows": rows, "seconds": seconds},
        )
    _tell(parts, found, seconds)
    return found


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
    failed = next((one for one in found if one.state == "failed"), None)
    if failed is not None:
        raise _error(failed)
    states = ", ".join(f"{one.name} {one.state}" for one in found)
    parts.emit(Note(stage="train", code="proofs", message=f"proofs in {seconds:.1f} s: {states}"))


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


# Masks


def _mask(parts: Parts) -> Proof:
    folder = parts.loaded.folder
    listed = parts.prepared.path / "train.rows.jsonl"
    if parts.prepared.kind == "text" or not listed.is_file() or not _has_tokenizer(folder):
        return Proof("mask", "not-run", "there are no conversations to look at")
    judge = _Rows(parts, Judge(TextTokenizer.open(folder), ChatTemplate.open(folder)))
    return judge.proof()


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file()


class _Rows:
    """Looks at the first rows of the training split, column by column."""

    def __init__(self, parts: Parts, judge: Judge) -> None:
        self.parts, self.judge = parts, judge
        meta = parts.prepared.meta
        self.last_only = meta.get("train_on") == "last" or parts.prepared.kind == "labelled"
        self.most = meta.get("max_length")
        self.reported = meta.get("facts", {}).get("counts", {}).get("truncated", 0)
        self.seen: dict[str, list[bool]] = {}
        self.first: dict[str, str] = {}
        self.cut = self.rows = 0

    def proof(self) -> Proof:
        """Check the rows and judge what was found."""
        for number, row in enumerate(islice(read_rows(self.parts.prepared, "train"), _CHECKED)):
            for name, turns in _turns(row, last_only=self.last_only).items():
                self._one(number, row, name, turns)
        often = [rule for rule, flags in self.seen.items() if rules.systematic(flags)]
        broken = {rule: self.first[rule] for rule in often if rule not in rules.TOLD}
        odd = sum(sum(flags) for flags in self.seen.values())
        figures = {"rows": float(self.rows), "cut": float(self.cut), "odd": float(odd)}
        if not broken:
            text = f"{self.rows} rows, {self.cut} of them cut"
            if odd:
                rule, place = next(iter(self.first.items()))
                text += f"; {odd} oddities, the first: {rules.RULES[rule]} ({place})"
            return Proof("mask", "passed", text, figures)
        told = "; ".join(f"{rules.RULES[rule]} ({text})" for rule, text in broken.items())
        return Proof("mask", "failed", f"the mask is wrong: {told}", figures)

    def _one(self, number: int, row: Row, name: str, turns: Turns) -> None:
        store = self.parts.train.stores[name]
        ids, mask = [int(i) for i in store.tokens(number)], [int(i) for i in store.mask(number)]
        cut = self.most is not None and len(ids) >= self.most
        self.rows += 1
        self.cut += cut
        found = [*self.judge.check(turns, ids, mask, cut=cut), *self._same(turns, ids, cut=cut)]
        names = {one.rule for one in found}
        system = any(m.role in ("system", "developer") for m in turns.messages)
        for rule in rules.RULES:
            if rule == "turn-dropped" and not system and rule not in names:
                continue  # templates that drop a turn drop the system's: count rows that have one
            self.seen.setdefault(rule, []).append(rule in names)
        for one in found:
            self.first.setdefault(one.rule, f"{row.where}: {one.text}")

    def _same(self, turns: Turns, ids: list[int], *, cut: bool) -> Iterator[Finding]:
        """Render the row again: a stale or altered store is not what the model will be asked."""
        whole = self.judge.encode(turns)
        if ids[:1] != whole[:1] and ids[1 : len(whole) + 1] == whole[: len(ids) - 1]:
            whole = [ids[0], *whole]  # BOS was put in front of the default template's text
        if whole[: len(ids)] != ids:
            yield Finding("not-the-template", f"{len(ids)} tokens, {len(whole)} when made again")
        elif len(whole) > len(ids) and not (cut and self.reported):
            yield Finding("cut-silently", f"{len(ids)} tokens of {len(whole)}")


def _turns(row: Row, *, last_only: bool) -> dict[str, Turns]:
    if row.kind != "preference":
        return {"tokens": Turns(row.messages, row.tools, 0, last_only)}
    first = len(row.messages)
    return {
        "chosen": Turns((*row.messages, *row.chosen), row.tools, first),
        "rejected": Turns((*row.messages, *row.rejected), row.tools, first),
    }


# Labels


def _labels(parts: Parts, rows: list[int]) -> Proof:
    if not rows:
        return Proof(
            "labels", "failed", "no row has a token to learn: this run would train on nothing"
        )
    found: list[Finding] = []
    count = 0
    for name, batch in parts.train.batch(rows).items():
        store = parts.train.stores[name]
        found += rules.check_labels(batch, [store.mask(r) for r in rows])
        count += int((batch.labels != IGNORED).sum())
    figures = {"labels": float(count)}
    if found:
        told = "; ".join(dict.fromkeys(one.text for one in found))
        return Proof("labels", "failed", f"the labels are wrong: {told}", figures)
    return Proof("labels", "passed", f"{count} labels in {len(rows)} rows", figures)


# Packing


def _packing(parts: Parts, rows: list[int]) -> Proof:
    learner = parts.tools.model
    if learner.rows_apart is not None:
        return Proof("packing", "passed", f"rows are computed one by one: {learner.rows_apart}")
    batches = list(parts.train.batch(rows).values()) if rows else []
    if not any(len(batch.starts) > 2 for batch in batches):
        return Proof("packing", "not-run", "there are no two rows to pack")
    worst, scale, leak = 0.0, 0.0, 0.0
    for batch in batches:
        packed = _gradients(learner, batch)
        with _apart(learner):
            single = _gradients(learner, batch)
        error, size = _distance(packed, single)
        worst, scale = max(worst, error), max(scale, size)
        leak = max(leak, _leak(learner, batch))
    dtype = parts.loaded.dtype
    figures = {"max_difference": worst, "max_gradient": scale, "leak": leak}
    if worst <= 1e-6 + _CLOSE.get(dtype, _HALF) * scale and leak <= _LEAK.get(dtype, _LEAK_HALF):
        text = f"packed and single rows differ by {worst:.1e} of gradients up to {scale:.1e}"
        return Proof("packing", "passed", text, figures)
    learner.rows_apart = "packed rows have other gradients than single ones"
    text = (
        f"packed and single rows differ by {worst:.1e} of gradients up to {scale:.1e} and see {leak:.1e} "
        "of their neighbors; rows are computed one by one, which is slower and right"
    )
    return Proof("packing", "switched", text, figures)


@contextmanager
def _apart(learner: Learner) -> Iterator[None]:
    learner.rows_apart = "the proof compares with it"
    try:
        yield
    finally:
        learner.rows_apart = None


def _gradients(learner: Learner, batch: Any) -> list[Tensor]:
    """Return loss and gradients of the mean loss, without dropout."""
    learner.model.eval()
    parameters = [p for _, p in learner.trained()]
    with learner.draw(0, 0, active=False):
        total, count = learner.label_loss(batch)
        mean = total / max(1, count)
        found = torch.autograd.grad(mean, parameters, allow_unused=True)
    return [mean.detach().float().reshape(1), *(g.float() for g in found if g is not None)]


def _distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> tuple[float, float]:
    """Return the largest difference and the largest value."""
    if len(ours) != len(theirs):
        return float("inf"), 0.0
    worst = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
    return worst, max(float(b.abs().max()) for b in theirs)


def _leak(learner: Learner, batch: Any) -> float:
    """Return how much a row's states change when only the first row's tokens do, relative."""
    end = int(batch.starts[1])
    if end == len(batch.tokens):
        return 0.0
    other = type(batch)(
        batch.tokens.copy(), batch.labels, batch.positions, batch.starts, batch.rows, batch.parents
    )
    other.tokens[:end] = other.tokens[:end][::-1]
    other.tokens[0] = batch.tokens[-1] if batch.tokens[0] != batch.tokens[-1] else batch.tokens[0]
    with torch.no_grad(), learner.draw(0, 0, active=False):
        before, after = learner.hidden(batch)[end:], learner.hidden(other)[end:]
    return float((before - after).abs().max()) / max(1e-9, float(before.abs().max()))


# Accumulation


def _accumulation(parts: Parts, rows: list[int]) -> Proof:
    if parts.method.rollout or not parts.method.separable or len(rows) < 2:
        return Proof(
            "accumulation", "not-run", "rows of this method are not learnt from one by one"
        )

    def computed(micro: list[list[int]]) -> list[Tensor]:
        batches = parts.method.gather(parts.tools, 0, micro)
        found = parts.stepper.gradients(0, batches, learning=False)
        scale = parts.stepper.scaler.scale
        return [torch.tensor([found.loss]), *(g.float() / scale for g in found.gradients)]

    together, single = computed([rows]), computed([[r] for r in rows])
    worst, scale = _distance(together, single)
    figures = {"max_difference": worst, "max_gradient": scale}
    n = len(rows)
    text = f"1 × {n} and {n} × 1 rows differ by {worst:.1e} of gradients up to {scale:.1e}"
    close = worst <= 1e-6 + _CLOSE.get(parts.loaded.dtype, _HALF) * scale
    return Proof("accumulation", "passed" if close else "failed", text, figures)
