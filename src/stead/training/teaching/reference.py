"""What the starting model says about every row, computed once and kept on disk.

Knows nothing about losses or about what is measured. A table is written in parts, each a committed
folder, so that a kill loses at most one part; a run that goes on reads them back. Light.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core import files, manifest
from stead.core.errors import CheckpointError, Interrupted
from stead.core.events import Finished, Note, Progress, Started
from stead.core.lazy import lazy
from stead.core.paths import Home
from stead.core.process import stop_requested
from stead.data.pack import plan_batches
from stead.hub import fingerprint
from stead.training.method import Columns, Model, Store, Tools

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np, torch = lazy("numpy", extra="data"), lazy("torch", extra="train")

STAGE = "reference"
KIND = "reference-table"
_ROWS = 2048  # per part
_TOKENS = {"cpu": 4096, "cuda": 65536, "mps": 8192}  # at once: no gradient, so little is kept
_FILE = "table.f32.bin"


@dataclass(slots=True)
class Measure:
    """What a table holds: `of(model, batch)` returns numbers of shape [rows, width] for a batch.

    `name` and `width` are part of the table's identity; `lengths` is what rows cost in tokens.
    """

    name: str
    width: int
    lengths: Any  # Any: int array
    flatten: Callable[[Sequence[int]], Columns]
    of: Callable[[Model, Columns], "torch.Tensor"]
    batch_tokens: int | None = None


def reference_table(tools: Tools, store: Store, measure: Measure) -> Any:  # Any: float32 array
    """Return what the starting model says about each row of a split, from disk where it is there.

    Shapes: [rows, width]. Call in `Method.setup`, before weights change. Raises: Interrupted after a
    signal; finished parts are kept.
    """
    for left in tools.folder.glob(".partial-*"):  # of a run that was killed while it wrote one
        shutil.rmtree(left)
    head = f"reference-{_key(tools, store, measure)}-{store.split}"
    found = np.zeros((store.rows, measure.width), dtype=np.float32)
    todo = []
    for begin in range(0, store.rows, _ROWS):
        rows = range(begin, min(begin + _ROWS, store.rows))
        folder = tools.folder / f"{head}-{begin // _ROWS:05d}"
        kept = _read(folder, len(rows), measure.width, tools)
        if kept is None:
            todo.append((rows, folder))
        else:
            found[rows.start : rows.stop] = kept
    if todo:
        _compute(tools, measure, todo, found)
    return found


def _key(tools: Tools, store: Store, measure: Measure) -> str:
    """Name what decides the numbers: weights, their form, rows, and what is measured."""
    home, loaded = Home.find(), tools.loaded
    weights = {p.name: fingerprint.of(p, home) for p in sorted(loaded.folder.glob("*.safetensors"))}
    adapter = tools.adapter.config.model_dump(mode="json")
    parts = [weights, adapter, str(loaded.dtype), loaded.device.type, store.prepared.hash]
    return files.hash_value([*parts, measure.name, measure.width])[:16]


def _read(folder: Path, rows: int, width: int, tools: Tools) -> Any:  # Any: array or None
    if not folder.exists():
        return None
    try:
        manifest.verify(folder, KIND)
        return np.fromfile(folder / _FILE, dtype="<f4").reshape(rows, width)
    except (CheckpointError, ValueError) as error:
        message = f"{folder.name} is damaged and is computed again: {error}"
        tools.emit(Note(stage=STAGE, level="warning", code="reference-damaged", message=message))
        shutil.rmtree(folder)
        return None


def _compute(tools: Tools, measure: Measure, todo: list[tuple[range, Path]], found: Any) -> None:
    """Fill the missing parts of `found` and commit each when it is done."""
    total, done, tokens = sum(len(rows) for rows, _ in todo), 0, 0
    tools.emit(Started(stage=STAGE, total=total, unit="row"))
    began = time.perf_counter()
    tools.loaded.model.eval()
    with _lanes(tools) as run:
        for rows, folder in todo:
            for batch, numbers in _measured(tools, measure, rows, run):
                found[batch] = numbers
                done += len(batch)
                tokens += int(measure.lengths[batch].sum())
                seconds = max(time.perf_counter() - began, 1e-9)
                values = {
                    "tokens_per_s": tokens / seconds,
                    "seconds_left": seconds / done * (total - done),
                }
                tools.emit(Progress(stage=STAGE, done=done, values=values))
                if stop_requested.is_set():
                    raise Interrupted(
                        "interrupted",
                        f"stopped while the reference was computed, after {done} of {total} rows",
                    )
            _write(folder, found[rows.start : rows.stop])
    seconds = round(time.perf_counter() - began, 3)
    tools.emit(Finished(stage=STAGE, result={"rows": total, "seconds": seconds}))


def _measured(
    tools: Tools, measure: Measure, rows: range, run: Callable[..., Any]
) -> Iterator[tuple[Any, Any]]:
    """Yield (rows, numbers) of each batch of a part, in order."""
    budget = measure.batch_tokens
    if budget is None:
        budget = _TOKENS.get(tools.loaded.device.type, _TOKENS["cpu"])
    planned = plan_batches(
        measure.lengths[rows.start : rows.stop], batch_tokens=budget, seed=0, epoch=0, shuffle=False
    )
    batches = [batch + rows.start for batch in planned]

    def work(batch: Any) -> Any:
        with _start(tools) as model:
            return measure.of(model, measure.flatten(batch)).float().cpu().numpy()

    yield from zip(batches, run(work, batches), strict=True)


@contextmanager
def _start(tools: Tools) -> Iterator[Model]:
    """Yield the model as it is before the first step, for this thread: no dropout, no gradient.

    An adapter that moved a part of the weights into itself (PiSSA) starts switched on.
    """
    if tools.adapter.switches_off():
        with tools.reference() as model:
            yield model
        return
    with torch.no_grad(), tools.model.draw(0, 0, active=False):
        yield tools.model


@contextmanager
def _lanes(tools: Tools) -> Iterator[Callable[..., Any]]:
    """Yield `map`, over as many threads as the run has lanes."""
    if tools.lanes == 1:
        yield map
        return
    with ThreadPoolExecutor(tools.lanes, "reference", torch.set_num_threads, (1,)) as pool:
        yield pool.map


def _write(folder: Path, part: Any) -> None:  # Any: float32 array
    def fill(partial: Path) -> None:
        np.ascontiguousarray(part, dtype="<f4").tofile(partial / _FILE)

    manifest.commit(folder, KIND, fill)
