"""One trainer per run folder.

Knows nothing about training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stead.core import lease
from stead.core.errors import TrainingError

NAME = ".lease"


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Hold the run folder while the block runs. Raises: TrainingError("run-held")."""
    with lease.held(run_dir / NAME) as mine:
        if not mine:
            raise TrainingError("run-held", f"another process is training in {str(run_dir)!r}")
        yield
