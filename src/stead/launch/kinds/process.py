"""One worker process on this machine.

Knows nothing about what it does.
"""

from pathlib import Path

from stead.core import process
from stead.core.errors import ConfigError
from stead.launch.launcher import WORKER, Launcher, LaunchSettings


class Process(Launcher):
    """Start the worker with this interpreter."""

    def command(self, job: Path, settings: LaunchSettings) -> list[str]:
        """Return the argv. Raises: ConfigError("too-many-processes")."""
        if settings.processes != 1:
            raise ConfigError(
                "too-many-processes",
                f"launch.processes is {settings.processes}, but the launcher 'process' starts one",
                hint="stead train --set launch.type=torchrun",
            )
        return process.python(WORKER, str(job))
