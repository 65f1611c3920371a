"""Measure a training run from its first row to its last file, and this machine once.

Knows nothing about how forecasts use it. The machine is measured after a longer run, not to add to
its peak, and again when torch has changed.
"""

from pathlib import Path
from typing import Any

from stead.core import allocator, usage
from stead.core.events import AnyEvent, Emit, Note, ignore
from stead.core.paths import Home
from stead.models import probe as probing
from stead.models.checkpoint import PREFIX
from stead.planning import history, machine
from stead.planning.disk import saves
from stead.planning.plan import Plan

_FRESH_S = 60.0  # an older process was not started for this run
_WORTH_S = 20.0  # a run that long is worth a second of measuring after it


class Gauge:
    """Reads the meters when it is made and when `keep` is called; `loop` is filled by training."""

    def __init__(self, emit: Emit = ignore) -> None:
        self._emit = emit
        self._begun = usage.read()
        self._begun_s = usage.age_s()
        self._cached = False
        self.loop: dict[str, Any] = {}  # Any: JSON values

    def hear(self, event: AnyEvent) -> None:
        """Pass an event on; remember whether the rows had been prepared before."""
        self._cached |= isinstance(event, Note) and event.code == "cached"
        self._emit(event)

    def keep(
        self, plan: Plan, prepared: Path, *, alone: bool = True
    ) -> dict[str, Any]:  # Any: JSON values
        """Record what the run needed, for the next forecast; return it under "measured".

        `prepared`: the folder of its rows.
        Nothing is measured, and {} returned, when the run had been finished before, or when it is not
        `alone` but one of several processes.
        """
        if not self.loop or not alone:
            return {}
        measured = self.loop | self._whole() | {"disk_bytes": _disk_bytes(plan, prepared)}
        home = Home.find()
        history.record(plan, measured, home)
        if self._begun_s < _FRESH_S and not allocator.is_scalable():
            values = {
                "process_bytes": self._begun.resident_bytes,
                "start_s": self._begun_s * self._begun.main_ran_share,
            }
            machine.keep(home, "worker", values)
        name = plan.forecast.kind.get("name", "")
        if name and measured["step_s"] >= _WORTH_S:
            section = plan.config.model
            probe(section.device, section.dtype, name, measured["lanes"], emit=self._emit)
        return {"measured": measured}

    def _whole(self) -> dict[str, Any]:
        """Return what the stage used. Units: seconds, bytes."""
        used = usage.read()
        spent = used.since(self._begun)
        return {
            "prepared_before": self._cached,
            "begun_s": round(self._begun_s, 4),
            "stage_s": round(spent.wall_s, 4),
            "begun_ran_share": round(self._begun.main_ran_share, 4),
            "stage_ran_share": round(spent.main_ran_share, 4),
            "begun_bytes": self._begun.resident_bytes,
            "begun_peak_bytes": self._begun.peak_bytes,
            "peak_bytes": used.peak_bytes,
        }


def _disk_bytes(plan: Plan, prepared: Path) -> int:
    """Return what the run's folder and its rows hold, and the checkpoint that was one too many for a moment."""
    out = Path(str(plan.config.out))
    kept = sorted((out / "checkpoints").glob(PREFIX + "*"))
    more = saves(plan.config, plan.forecast.steps) > plan.config.trainer.keep
    return _size(out) + _size(prepared) + (_size(kept[-1]) if more and kept else 0)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def probe(
    device: str, dtype: str, name: str, lanes: int, *, again: bool = False, emit: Emit = ignore
) -> dict[str, Any]:  # Any: JSON values
    """Return the measurement of one device, number type and count of lanes; made once and kept.

    `again`: also when torch is the same. Units: GFLOP/s and bytes/s of one lane.
    """
    home = Home.find()
    entry = machine.entry(name, dtype, lanes)
    known = machine.read(home).get(entry)
    if known is not None and known.get("torch") == probing.version() and not again:
        return dict(known)
    emit(Note(stage="probe", code="measuring", message=f"measuring {entry} once: about a second"))
    found = probing.probe(dtype, device, lanes)
    machine.keep(home, entry, found)
    return found
