"""Counters, gauges and histograms, and their text for Prometheus.

Knows nothing about what is counted. Adding is a look-up in a dict and an addition, safe from one event
loop; what other threads add may be lost by one. Source: Prometheus text exposition format 0.0.4.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Labels = tuple[str, ...]
Sample = tuple[str, Labels, float]  # suffix of the name, values of the labels, value
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
_SERIES = 2000  # of one metric; what comes on top is counted together
_REST = "other"


class Counter:
    """A sum that only grows, one per combination of label values."""

    kind = "counter"

    def __init__(self, name: str, help_: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help_
        self.labels = tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, amount: float, *labels: str) -> None:
        """Add `amount` to the series of these label values."""
        values = self.values
        if labels not in values and len(values) >= _SERIES:
            labels = (_REST,) * len(labels)
        values[labels] = values.get(labels, 0) + amount

    def samples(self) -> Iterable[Sample]:
        """Yield every series."""
        return [("", labels, value) for labels, value in self.values.items()]


class Gauge(Counter):
    """A value that may fall; `read` is asked when the text is made, instead of `set`."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        help_: str,
        labels: Sequence[str] = (),
        read: Callable[[], Iterable[tuple[Labels, float]]] | None = None,
    ) -> None:
        super().__init__(name, help_, labels)
        self._read = read

    def set(self, value: float, *labels: str) -> None:
        """Set the series of these label values."""
        self.values[labels] = value

    def samples(self) -> Iterable[Sample]:
        """Yield every series."""
        if self._read is None:
            return super().samples()
        return [("", labels, value) for labels, value in self._read()]


class Histogram:
    """How often values fell into each bucket; `bounds` are their upper ends, rising."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        help_: str,
        labels: Sequence[str] = (),
        bounds: Sequence[float] = SECONDS,
    ) -> None:
        self.name = name
        self.help = help_
        self.labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count a value in the series of these label values."""
        if labels not in self._series:
            if len(self._series) >= _SERIES:
                labels = (_REST,) * len(labels)
            self._series.setdefault(labels, ([0] * (len(self._bounds) + 1), [0.0]))
        counts, total = self._series[labels]
        counts[bisect_left(self._bounds, value)] += 1
        total[0] += value

    def samples(self) -> Iterable[Sample]:
        """Yield the cumulative buckets, the sum and the count of every series."""
        for labels, (counts, total) in self._series.items():
            seen = 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                seen += count
                yield "_bucket", (*labels, _number(bound)), seen
            yield "_sum", labels, total[0]
            yield "_count", labels, seen


Metric = Counter | Gauge | Histogram


M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one process, in the order of their making; a name is made once."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def add(self, metric: M) -> M:
        """Show a metric from now on; return the one of that name if there is one already.

        Raises: ValueError when that one is of another kind or has other labels.
        """
        found = self._metrics.setdefault(metric.name, metric)
        if type(found) is not type(metric) or found.labels != metric.labels:
            raise ValueError(f"{metric.name} is a {found.kind} of {found.labels} already")
        return found

    def counter(self, name: str, help_: str, *labels: str) -> Counter:
        """Make and show a counter."""
        return self.add(Counter(name, help_, labels))

    def histogram(self, name: str, help_: str, *labels: str) -> Histogram:
        """Make and show a histogram of seconds."""
        return self.add(Histogram(name, help_, labels))

    def gauge(
        self,
        name: str,
        help_: str,
        *labels: str,
        read: Callable[[], Iterable[tuple[Labels, float]]] | None = None,
    ) -> Gauge:
        """Make and show a gauge."""
        return self.add(Gauge(name, help_, labels, read))

    def render(self) -> str:
        """Return the text that Prometheus reads."""
        lines: list[str] = []
        for metric in self._metrics.values():
            lines.append(f"# HELP {metric.name} {metric.help}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            for suffix, values, value in metric.samples():
                names = (*metric.labels, "le") if suffix == "_bucket" else metric.labels
                lines.append(f"{metric.name}{suffix}{_labels(names, values)} {_number(value)}")
        return "\n".join(lines) + "\n"


def _labels(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = [f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True)]
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
