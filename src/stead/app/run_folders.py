"""What a run folder says about its run: state, progress, results. Read only; nothing is guessed.

Knows nothing about training. A run is alive while somebody holds its lease; how it ended is what its
own last event says; one that ended without a word was killed.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stead.app.runs import ALIVE, EVENTS, FOLLOWER, JOB
from stead.core import files, lease
from stead.core.errors import NotFound
from stead.core.paths import Home
from stead.core.suggest import nearest
from stead.store import run_index

State = Literal["running", "succeeded", "failed", "interrupted", "paused"]
_TAIL_BYTES = 1 << 16  # some hundred events; the last step and the end are among them
Json = dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of `stead runs list`. Times are seconds since 1970; None: not known (yet)."""

    id: str
    path: str
    name: str | None
    state: State
    reason: str | None  # why it failed or stopped
    step: int
    total: int | None
    loss: float | None
    eval_loss: float | None
    tokens_per_s: float | None
    seconds_left: float | None
    started: float | None
    method: str
    adapter: str
    model: str

    def to_dict(self) -> Json:
        """Return plain JSON values."""
        return asdict(self)


def runs(home: Home) -> list[RunSummary]:
    """Return every training run that can be found, newest first."""
    found = [summary(p) for p in run_index.folders(home) if is_run(p)]
    return sorted(
        found, key=lambda r: (0.0 if r.started is None else r.started, r.id), reverse=True
    )


def is_run(folder: Path) -> bool:
    """Say whether the folder holds a training run."""
    return (folder / "plan.json").is_file() or _read(folder / JOB).get("verb") == "train"


def find(text: str, home: Home) -> Path:
    """Return the folder of a run given by path, id, beginning of an id, or name.

    Raises: NotFound("no-run") with the nearest id; NotFound("several-runs") naming them.
    """
    given = Path(text)
    if given.is_dir() and is_run(given):
        return given.absolute()
    known = {p: p.name for p in run_index.folders(home) if is_run(p)}
    for matches in (
        [p for p, name in known.items() if name == text],
        [p for p in known if plan_of(p)["config"].get("name") == text],
        [p for p, name in known.items() if text and name.startswith(text)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(str(p) for p in matches)
            raise NotFound(
                "several-runs", f"{text!r} may be one of {names}", hint="stead runs list"
            )
    near = nearest(text, known.values())
    ask = f"; did you mean {near!r}?" if near else ""
    raise NotFound("no-run", f"there is no run {text!r}{ask}", hint="stead runs list")


def plan_of(folder: Path) -> Json:
    """Return the run's plan: the one it wrote, else the one it was asked for; {} parts when torn."""
    plan = _read(folder / "plan.json")
    if not plan:
        plan = _read(folder / JOB).get("spec", {}).get("plan", {})
    return {"config": {}, "forecast": {}, "model": {}} | plan


def summary(folder: Path) -> RunSummary:
    """Read one run folder."""
    plan, done = plan_of(folder), result(folder)
    config, last = plan["config"], last_line(folder / "metrics.jsonl")
    events = [*_lines(_tail(folder / EVENTS))]
    told: Json = next((e["values"] for e in reversed(events) if _is(e, "progress")), {})
    state, reason = _state(folder, events)
    step = int(last.get("step", 0))
    return RunSummary(
        id=folder.name,
        path=str(folder),
        name=config.get("name"),
        state=state,
        reason=reason,
        step=step,
        total=_total(events, plan, done, step),
        loss=last.get("loss"),
        eval_loss=done.get("eval_loss", told.get("eval_loss")),
        tokens_per_s=done.get("tokens_per_s", told.get("tokens_per_s")),
        seconds_left=told.get("seconds_left") if state == "running" else None,
        started=_started(folder),
        method=str(config.get("method", {}).get("type", "")),
        adapter=str(config.get("adapter", {}).get("type", "")),
        model=str(config.get("model", {}).get("path", "")),
    )


def result(folder: Path) -> Json:
    """Return the results of a finished run, scores of its evaluation included; {} before."""
    events = [e for e in _lines(_tail(folder / EVENTS)) if _is(e, "finished")]
    return _read(folder / "result.json") | (events[-1].get("result", {}) if events else {})


def _total(events: list[Json], plan: Json, done: Json, step: int) -> int | None:
    if "steps" in done:
        return int(done["steps"])
    said = next((e["total"] for e in reversed(events) if _is(e, "started") and e["total"]), None)
    if said is None:
        said = plan["forecast"].get("steps")
    return max(int(said), step) if said is not None else None


def worker(folder: Path) -> int | None:
    """Return the process id of the worker that trains here, or None."""
    if _read(folder / JOB).get("verb") != "train":
        return None  # an evaluation may work in the folder too
    return lease.holder(folder / ALIVE)


def is_running(folder: Path) -> bool:
    """Say whether some process trains here: a worker, one being started, or another program."""
    if worker(folder) is not None or lease.holder(folder / ".lease") is not None:
        return True
    starting = lease.holder(folder / FOLLOWER) is not None
    return starting and _read(folder / JOB).get("verb") == "train"


def _state(folder: Path, events: list[Json]) -> tuple[State, str | None]:
    if is_running(folder):
        return "running", None
    last = next((e for e in reversed(events) if e.get("stage") == "train" and e["event"] in _ENDS), None)  # fmt: skip
    if (
        last is None or last["event"] == "started"
    ):  # nothing was said, or a resumed run was killed after it had begun
        done = (folder / "result.json").is_file() and (folder / "final").is_dir()
        if done and not (folder / EVENTS).is_file():  # trained inside a program, without events
            return "succeeded", None
        return "interrupted", "its process ended without a word"
    if last["event"] == "finished":
        return "succeeded", last.get("result", {}).get("stopped")
    error = last.get("error", {})
    return _ended(error), error.get("message")


def _ended(error: Json) -> State:
    """Return what an error made of a run; a full disk is no fault of it: it goes on when there is room."""
    if error.get("type") == "Interrupted":
        return "interrupted"
    return "paused" if error.get("code") == "disk-full" else "failed"


_ENDS = ("started", "finished", "failed")


def _started(folder: Path) -> float | None:
    first = next(_lines(_head(folder / EVENTS)), None)
    if first is not None:
        return float(first["time"])
    for name in ("plan.json", JOB):  # a worker that has not said anything yet
        if (folder / name).is_file():
            return (folder / name).stat().st_mtime
    return None


def last_line(path: Path) -> Json:
    """Return the last complete JSON line of a file, or {}."""
    lines = [*_lines(_tail(path))]
    return lines[-1] if lines else {}


def _is(event: Json, kind: str) -> bool:
    return event.get("event") == kind and event.get("stage") == "train"


def _read(path: Path) -> Json:
    """Read a JSON object; {} when it is absent or no such thing (a killed writer leaves none torn)."""
    try:
        found = files.read_json(path)
    except (NotFound, ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        return file.readline(_TAIL_BYTES)


def _tail(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        data = file.read()
    return data if size <= _TAIL_BYTES else data.partition(b"\n")[2]


def _lines(data: bytes) -> Iterator[Json]:
    for line in data.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # the line that is being written
        if isinstance(found, dict):
            yield found
