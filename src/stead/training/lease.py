"""One trainer per run folder, kept by the operating system: a dead holder holds nothing.

Knows nothing about training.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stead.core.errors import TrainingError


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Hold the run folder while the block runs. Raises: TrainingError("run-held")."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / ".lease", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                "run-held", f"another process is training in {str(run_dir)!r}"
            ) from error
        yield
