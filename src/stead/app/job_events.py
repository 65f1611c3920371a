"""A worker's event log, read on from where it was read before, as what the store keeps of it.

Knows nothing about stores or processes.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.store.events import Stored
from stead.store.metrics import Point

Json = dict[str, Any]  # Any: JSON values
_MOST_BYTES = 4 << 20  # at once; what is left comes next time
_COLUMNS = {
    "loss": "loss", "eval_loss": "eval_loss", "lr": "lr", "grad_norm": "grad_norm", "epoch": "epoch",
    "tokens_per_s": "tokens_per_s", "seconds_left": "seconds_left",
}  # fmt: skip
_NO_SERIES = frozenset({"seconds_left"})


@dataclass(slots=True)
class Told:
    """What some lines said. `tail`: bytes read so far; `ending`: the verb's own last event, if it came.

    `before` is what there was before that event, so that it can be told again with the worker's end.
    """

    tail: int
    events: list[Stored] = field(default_factory=list)
    points: dict[str, list[Point]] = field(default_factory=dict)
    values: Json = field(default_factory=dict)  # columns of the run
    progress: float | None = None
    total: int | None = None
    ending: Json | None = None


def read(path: Path, tail: int, verb: str, total: int | None, *, with_end: bool) -> Told:
    """Read complete lines from byte `tail` on; without `with_end`, stop before the verb's end event."""
    told = Told(tail, total=total)
    for line in _lines(path, tail):
        event = _event(line)
        is_end = event.get("event") in ("finished", "failed") and event.get("stage") == verb
        if is_end and not with_end:
            told.ending = event
            return told
        told.tail += len(line)
        if "seq" not in event:
            continue  # a line that is none
        told.events.append(Stored(int(event["seq"]), event))
        _take(told, event, verb)
        if is_end:
            told.ending = event
            return told
    return told


def _lines(path: Path, tail: int) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            file.seek(tail)
            data = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return []
    return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)


def _event(line: bytes) -> Json:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _take(told: Told, event: Json, verb: str) -> None:
    kind = event["event"]
    if kind == "started":
        told.total = event.get("total")
        if event.get("stage") == "train" == verb:
            told.values["steps"] = told.total
    elif kind == "progress":
        _progress(told, event, verb)
    elif kind == "finished" and event.get("stage") == "train" == verb:
        _result(told, event.get("result", {}))


def _progress(told: Told, event: Json, verb: str) -> None:
    done = int(event["done"])
    if told.total and (verb != "train" or event["stage"] == "train"):
        told.progress = min(1.0, done / told.total)
    if event["stage"] != "train" or verb != "train":
        return
    told.values["step"] = done
    for name, value in event.get("values", {}).items():
        if value is None:
            continue
        if name not in _NO_SERIES:
            told.points.setdefault(name, []).append((done, float(value)))
        if name in _COLUMNS:
            told.values[_COLUMNS[name]] = float(value)
        elif name == "tokens":
            told.values["tokens"] = int(value)
        elif name == "peak_rss_mib":
            told.values["peak_bytes"] = int(value) << 20


def _result(told: Told, result: Json) -> None:
    for column, name in (("step", "steps"), ("steps", "steps"), ("tokens", "tokens"),
                         ("tokens_per_s", "tokens_per_s"), ("loss", "final_loss")):  # fmt: skip
        if result.get(name) is not None:
            told.values[column] = result[name]
    told.values["seconds_left"] = None
