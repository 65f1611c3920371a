"""Plan: every decision about a run with its origin, what it will cost, and one hash over what matters.

Knows nothing about how decisions are made (`planning/resolve`) or carried out. Equal requests give
an equal hash from every surface: places, names and forecasts are no part of it.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from stead.config.run import RunConfig
from stead.core import files
from stead.core.errors import ConfigError

_VERSION = 1
_WATCHERS = ("trackers", "samples")  # they look on and change nothing


@dataclass(frozen=True, slots=True)
class Interval:
    """A forecast quantity: best guess and the range that should hold nine times out of ten."""

    low: float
    expected: float
    high: float

    def scaled(self, low: float, middle: float, high: float) -> "Interval":
        """Return the expected value times three factors."""
        return Interval(self.expected * low, self.expected * middle, self.expected * high)

    def to_list(self) -> list[float]:
        """Return [low, expected, high]."""
        return [self.low, self.expected, self.high]


@dataclass(frozen=True, slots=True)
class PastError:
    """How far the last forecasts were off: medians of |forecast − needed| / needed."""

    runs: int = 0
    memory: float | None = None
    time: float | None = None
    disk: float | None = None
    tokens: float | None = None


_INTERVALS = ("memory_bytes", "seconds", "disk_bytes", "step_seconds")
_PARTS = ("memory_parts", "time_parts")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the run will need. Bytes and seconds; seconds are those of an idle machine.

    `memory_parts` and `time_parts` are corrected by finished runs; `counted` holds the parts before
    that, by quantity, and `said` the figures that are compared with what the run needs. `largest`:
    tokens that are in memory at once. Not `verified`: nothing was recorded on this card yet. `rates`: "measured" here or from the "table".
    """

    memory_bytes: Interval
    seconds: Interval
    disk_bytes: Interval
    step_seconds: Interval = Interval(0, 0, 0)
    steps: int = 0
    tokens: int = 0
    largest: int = 0
    lanes: int = 1
    allocator: str = ""  # whose memory the run takes; planning/memory.allocator
    memory_parts: dict[str, Interval] = field(default_factory=dict)
    time_parts: dict[str, Interval] = field(default_factory=dict)
    disk_parts: dict[str, int] = field(default_factory=dict)
    basis: dict[str, str] = field(default_factory=dict)
    past: PastError = PastError()
    verified: bool = True
    rates: str = "table"
    kind: dict[str, str] = field(default_factory=dict)
    counted: dict[str, dict[str, float]] = field(default_factory=dict)
    said: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """Return plain JSON values."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in _INTERVALS:
            found[name] = found[name].to_list()
        for name in _PARTS:
            found[name] = {part: value.to_list() for part, value in found[name].items()}
        return found | {"past": asdict(self.past)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Forecast":
        """Read `to_dict`'s value back; parts that an older plan lacks are empty."""
        known = {f.name for f in fields(cls)}
        found = {name: value for name, value in data.items() if name in known}
        for name in _INTERVALS:
            if name in found:
                found[name] = Interval(*found[name])
        for name in _PARTS:
            listed = found.get(name, {})
            found[name] = {k: Interval(*v) for k, v in listed.items() if isinstance(v, list)}
        if "past" in found:
            found["past"] = PastError(**found["past"])
        return cls(**found)


@dataclass(frozen=True, slots=True)
class Plan:
    """A resolved run: no "auto" is left in `config`; `origins` has one entry per dotted key."""

    config: RunConfig
    origins: dict[str, str]
    model: dict[str, Any]  # Any: JSON facts of the model
    data: dict[str, Any]  # Any: JSON facts of the data
    hardware: dict[str, Any]  # Any: JSON facts of the machine
    forecast: Forecast
    notes: tuple[str, ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()  # what fits this machine, and what would help

    @property
    def decisions(self) -> dict[str, Any]:
        """What makes the run what it is: settings without names, places and watchers; model and data by hash."""
        kept: dict[str, Any] = self.config.model_dump(mode="json")
        for key in ("name", "out", "launch"):
            del kept[key]
        kept["model"] = kept["model"] | {"path": self.model["hash"]}
        kept["data"] = kept["data"] | {"path": self.data["hash"], "eval_path": None}
        kept["trainer"] = {k: v for k, v in kept["trainer"].items() if k not in _WATCHERS}
        for key, digest in self.model.get("others", {}).items():
            section, _, name = key.partition(".")
            kept[section] = kept[section] | {name: digest}
        kept["export"] = [export | {"out": None} for export in kept["export"]]
        return kept

    @property
    def hash(self) -> str:
        """SHA-256 of the decisions."""
        return files.hash_value(self.decisions)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values; `plan` is the hash."""
        return {
            "version": _VERSION,
            "plan": self.hash,
            "config": self.config.model_dump(mode="json"),
            "origins": self.origins,
            "model": self.model,
            "data": self.data,
            "hardware": self.hardware,
            "forecast": self.forecast.to_dict(),
            "notes": list(self.notes),
            "verdicts": list(self.verdicts),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Plan":
        """Read `to_json`'s value back.

        Raises: ConfigError("bad-plan") when it is none; ("changed-plan") when it was edited.
        """
        if not isinstance(data, dict) or data.get("version") != _VERSION or "config" not in data:
            raise ConfigError("bad-plan", f"this is no plan of version {_VERSION}")
        plan = cls(
            config=RunConfig.model_validate(data["config"]),
            origins=data["origins"],
            model=data["model"],
            data=data["data"],
            hardware=data["hardware"],
            forecast=Forecast.from_dict(data["forecast"]),
            notes=tuple(data["notes"]),
            verdicts=tuple(data.get("verdicts", ())),
        )
        if plan.hash != data["plan"]:
            raise ConfigError(
                "changed-plan", f"the plan was edited: its hash is {plan.hash}, not {data['plan']}"
            )
        return plan

    def value(self, key: str) -> Any:  # Any: whatever a setting holds
        """Return what `config` has at a dotted key; None below a part that nobody asked for."""
        found: Any = self.config
        for part in key.split("."):
            found = None if found is None else getattr(found, part)
        return found

    def placed(self, out: Path) -> "Plan":
        """Return the plan with its run folder named; the hash stays."""
        return replace(self, config=self.config.model_copy(update={"out": str(out)}))

    def write(self, path: Path) -> None:
        """Write the plan to a JSON file, atomically."""
        files.write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read a plan file. Raises: NotFound, ConfigError("bad-plan" | "changed-plan")."""
        try:
            return cls.from_json(files.read_json(path))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError("bad-plan", f"{str(path)!r} is no plan: {error}") from error
