"""Put the forecast of a run together: counted parts, then what finished runs taught.

Knows nothing about decisions; everything in the configuration is settled when it comes here.
"""

from collections.abc import Mapping

from stead.config.run import RunConfig
from stead.core.hardware import Hardware
from stead.core.paths import Home
from stead.planning import cost, disk, history, lessons, machine, memory, work
from stead.planning.calibrate import Fit
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.machine import Machine
from stead.planning.plan import Forecast, Interval
from stead.planning.shape import shape
from stead.planning.work import Work

_DISK = (0.5, 1.0, 1.1)  # files are counted, but a run may stop early and rows vary in text
Counted = dict[str, dict[str, float]]


class Foresight:
    """Forecasts for this machine and what was recorded on it; files are read once.

    `home` None: nothing was measured or recorded. `others`: parameters of the models that the
    method names, a teacher for instance.
    """

    def __init__(self, hardware: Hardware, home: Home | None, others: int = 0) -> None:
        self.hardware = hardware
        self._others = others
        self._home = home
        self._records = history.read(home) if home is not None else []
        self._fits: dict[str, Fit] = {}

    def memory(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> Interval:
        """Return the peak's forecast alone."""
        done, found = self._work(config, model, data)
        parts = memory.parts(config, model, data, done, found, self._others)
        return self._peak(config, found, parts, memory.load_peak(config, model, found))

    def largest(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> int:
        """Return the most tokens that are in memory at once."""
        return self._work(config, model, data)[0].largest

    def forecast(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> Forecast:
        """Return memory, step time, total time, disk and tokens of the run with their basis.

        Intervals hold nine times out of ten. Seconds are those of an otherwise idle machine.
        """
        name = machine.device_name(config, self.hardware)
        done, found = self._work(config, model, data)
        counted = count(config, model, data, done, found, self._others)
        fits = {q: self._fit(config, q, found) for q in ("memory", "steps", "around")}
        kind = history.key(config, name)
        word = lessons.kind_name(kind)
        peak = self._peak(config, found, counted["memory"], counted["load"]["peak"])
        loop = fits["steps"].predict(counted["steps"], word)
        total = _sum(loop, fits["around"].predict(counted["around"], word))
        written = disk.disk(config, model, data, done.steps)
        here = [r for r in self._records if r["kind"]["name"] == name]
        return Forecast(
            memory_bytes=peak,
            seconds=total,
            disk_bytes=Interval(0, memory.total(written), 0).scaled(*_DISK),
            step_seconds=Interval(*(v / max(1, done.steps) for v in loop.to_list())),
            steps=done.steps,
            tokens=round(done.tokens),
            largest=done.largest,
            lanes=done.lanes,
            allocator=memory.allocator(config, shape(model, config.adapter, config.model.device)),
            memory_parts=fits["memory"].each(counted["memory"]),
            time_parts=_times(fits, counted),
            disk_parts=written,
            basis=_basis(fits, found, done, config.model.device),
            past=history.past_error(here),
            verified=bool(here) or config.model.device == "cpu",
            rates=found.rates,
            kind=kind,
            counted=counted,
            said={
                "memory": peak.expected,
                "steps": loop.expected,
                "seconds": total.expected,
                "disk": memory.total(written) * _DISK[1],
                "tokens": done.tokens,
            },
        )

    def _work(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> tuple[Work, Machine]:
        lanes = work.lanes(config, model, self.hardware)
        found = machine.machine(config, self.hardware, self._home, lanes)
        return work.work(config, data, lanes), found

    def _fit(self, config: RunConfig, quantity: str, found: Machine) -> Fit:
        kind = history.key(config, machine.device_name(config, self.hardware))
        key = f"{quantity} {found.measured} {sorted(kind.items())}"
        if key not in self._fits:
            self._fits[key] = lessons.learn(self._records, kind, quantity, found)
        return self._fits[key]

    def _peak(
        self, config: RunConfig, found: Machine, parts: Mapping[str, float], load: float
    ) -> Interval:
        """Return the higher of two peaks that do not add up: while loading, and while training."""
        kind = history.key(config, machine.device_name(config, self.hardware))
        main = self._fit(config, "memory", found).predict(parts, lessons.kind_name(kind))
        return Interval(
            max(main.low, load * 0.9), max(main.expected, load), max(main.high, load * 1.1)
        )


def count(
    config: RunConfig, model: ModelFacts, data: DataFacts, done: Work, found: Machine,
    others: int = 0,
) -> Counted:  # fmt: skip
    """Return the counted parts of every quantity, before anything that runs taught."""
    steps = cost.steps(config, model, done, found)
    means = {n: f * lessons.prior_of("steps").factors[n][0] for n, f in steps.items()}
    around = cost.around(config, model, data, done, found, sum(means.values()))
    parts = memory.parts(config, model, data, done, found, others)
    return {
        "memory": {name: float(value) for name, value in parts.items()},
        "load": {"peak": float(memory.load_peak(config, model, found))},
        "steps": steps,
        "around": around,
    }


def _sum(one: Interval, other: Interval) -> Interval:
    """Add two forecasts whose errors have little to do with one another."""
    middle = one.expected + other.expected
    below = ((one.expected - one.low) ** 2 + (other.expected - other.low) ** 2) ** 0.5
    above = ((one.high - one.expected) ** 2 + (other.high - other.expected) ** 2) ** 0.5
    return Interval(max(0.0, middle - below), middle, middle + above)


def _times(fits: dict[str, Fit], counted: Counted) -> dict[str, Interval]:
    """Return the parts of the total time, those of steps first; empty ones are left out."""
    return {
        name: value
        for quantity in ("steps", "around")
        for name, value in fits[quantity].each(counted[quantity]).items()
    }


def _basis(fits: dict[str, Fit], found: Machine, done: Work, device: str) -> dict[str, str]:
    """Return in words what each figure rests on."""
    lanes = f" in {done.lanes} lanes" if done.lanes > 1 else ""
    return {
        "memory_bytes": f"up to {done.largest} tokens at once{lanes}; {_taught(fits['memory'])}",
        "seconds": f"{found.basis}; {_taught(fits['steps'])}; on an idle {_word(device)}",
        "disk_bytes": "checkpoints kept, one being written, the result, prepared rows",
    }


def _taught(fit: Fit) -> str:
    return f"learnt from {fit.runs} runs" if fit.runs else "no finished run to learn from yet"


def _word(device: str) -> str:
    return "machine" if device == "cpu" else "card"
