"""Plan: every decision about a run with its origin, what it will cost, and one hash over what matters.

Knows nothing about how decisions are made (`planning/resolve`) or carried out. Equal requests give
an equal hash from every surface: places, names and forecasts are no part of it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stead.config.run import RunConfig
from stead.core import files
from stead.core.errors import ConfigError

_VERSION = 1


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
class Forecast:
    """What the run will need. Bytes and seconds; `memory_parts` sum up to the raw memory figure.

    `raw` holds the figures before calibration: history compares finished runs with those.
    """

    memory_bytes: Interval
    seconds: Interval
    disk_bytes: Interval
    memory_parts: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    basis: dict[str, str] = field(default_factory=dict)
    raw: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """Return plain JSON values."""
        return {
            "memory_bytes": self.memory_bytes.to_list(),
            "seconds": self.seconds.to_list(),
            "disk_bytes": self.disk_bytes.to_list(),
            "memory_parts": self.memory_parts,
            "steps": self.steps,
            "basis": self.basis,
            "raw": self.raw,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Forecast":
        """Read `to_dict`'s value back."""
        intervals = {k: Interval(*data[k]) for k in ("memory_bytes", "seconds", "disk_bytes")}
        return cls(**{**data, **intervals})


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

    @property
    def decisions(self) -> dict[str, Any]:
        """What makes the run what it is: settings without names, places and watchers; model and data by hash."""
        kept: dict[str, Any] = self.config.model_dump(mode="json")
        for key in ("name", "out", "launch"):
            del kept[key]
        kept["model"] = kept["model"] | {"path": self.model["hash"]}
        kept["data"] = kept["data"] | {"path": self.data["hash"], "eval_path": None}
        kept["trainer"] = {k: v for k, v in kept["trainer"].items() if k != "trackers"}
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
        )
        if plan.hash != data["plan"]:
            raise ConfigError(
                "changed-plan", f"the plan was edited: its hash is {plan.hash}, not {data['plan']}"
            )
        return plan

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
