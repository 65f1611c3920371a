"""The seam for where a worker runs: a job file in, the command line of its process(es) out.

Knows nothing about what the worker does. Light.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Protocol

WORKER = "stead.worker.run"
LIGHT = "stead.worker.light"  # for verbs that need no heavy library


class LaunchSettings(Protocol):
    """What `config/run.LaunchSection` decides."""

    @property
    def type(self) -> str:
        """The launcher's name."""

    @property
    def processes(self) -> int:
        """How many processes train together."""

    @property
    def step_timeout_s(self) -> float | None:
        """How long a worker may take for a step before it counts as hanging; None: for ever."""


class Launcher(ABC):
    """Says how a worker is started. The file name is the launcher's name."""

    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def command(self, job: Path, settings: LaunchSettings) -> list[str]:
        """Return the argv that runs the job; one process that stands for all of them.

        Raises: ConfigError when the settings ask for what it cannot do.
        """
