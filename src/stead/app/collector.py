"""The seam for what a server measures besides its requests: numbers read when `/metrics` is asked for.

Knows nothing about Prometheus or servers. Try: a file `plugins/collector/mine.py` in the data
directory, then `stead plugin enable mine`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from stead.app.plugins import Plugins
from stead.config.kinds import registry
from stead.core.metrics import Labels, Metrics
from stead.core.paths import Home


class Collector(ABC):
    """One source of numbers. `read` is called within the server's loop: it must not wait."""

    version: ClassVar[str] = "0"

    def __init__(self, home: Home) -> None:
        self.home = home

    @abstractmethod
    def read(self) -> Mapping[str, float]:
        """Return the numbers as they are now, by name; the unit is the end of the name."""


def collectors(plugins: Plugins, home: Home) -> dict[str, Collector]:
    """Return our own collectors and the plugins that are enabled, by name.

    Raises: ConfigError when an enabled one cannot be made.
    """
    known = registry("collector")
    own = [n for n in known.names() if known.origin(n).startswith(f"{known.package}.")]
    enabled = [p.name for p in plugins.all() if p.kind == "collector" and p.state == "enabled"]
    return {name: known.create(name, home=home) for name in dict.fromkeys([*own, *enabled])}


def show(metrics: Metrics, found: Mapping[str, Collector]) -> None:
    """Add a gauge of every collector's numbers: `stead_collected{collector="…", name="…"}`."""
    metrics.gauge(
        "stead_collected",
        "What collectors read now; the unit ends the name.",
        "collector",
        "name",
        read=lambda: _samples(found.items()),
    )


def _samples(found: Iterable[tuple[str, Collector]]) -> Sequence[tuple[Labels, float]]:
    return [
        ((collector, name), float(value))
        for collector, one in found
        for name, value in one.read().items()
    ]
