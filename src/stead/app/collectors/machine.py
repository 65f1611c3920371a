"""The machine beside the server: programs that want a core, and what the data directory's disk has left.

Knows nothing about requests.
"""

import shutil
from collections.abc import Mapping

from stead.app.collector import Collector
from stead.core import usage


class Machine(Collector):
    """Load, this process's memory, and the disk of the data directory."""

    def read(self) -> Mapping[str, float]:
        """Return the numbers; each costs a look at /proc or one call to the file system."""
        disk = shutil.disk_usage(self.home.ensure().root)
        return {
            "load": usage.load(),
            "process_bytes": usage.read().resident_bytes,
            "disk_free_bytes": disk.free,
            "disk_bytes": disk.total,
        }
