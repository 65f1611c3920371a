"""Several worker processes on this machine that train one model together.

Knows nothing about training. PyTorch's own launcher starts them, numbers them and ends all when one
dies; they meet on a free loopback port.
"""

from pathlib import Path
from typing import ClassVar

from stead.core import process
from stead.launch.launcher import WORKER, Launcher, LaunchSettings


class Torchrun(Launcher):
    """Start `processes` workers through torch.distributed.run."""

    requires: ClassVar[tuple[str, ...]] = ("torch",)

    def command(self, job: Path, settings: LaunchSettings) -> list[str]:
        """Return the argv."""
        count = f"--nproc-per-node={settings.processes}"
        return process.python(
            "torch.distributed.run", "--standalone", count, "--module", WORKER, str(job)
        )
