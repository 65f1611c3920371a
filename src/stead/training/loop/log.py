"""The per-step loss log: one JSON line per optimizer step, each step exactly once.

Knows nothing about what is logged. Holds no times, so that a resumed run has the same bytes as one
that nobody touched.
"""

import errno
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.errors import CheckpointError

NAME = "metrics.jsonl"


class StepLog:
    """Append-only while a run lives; cut back to a checkpoint's position when it resumes.

    One that does not write is what the other processes of a run have.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self._writes = writes
        self.path = path if writes else Path(os.devnull)
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the run

    def append(self, line: dict[str, Any]) -> None:  # Any: JSON values
        """Write one line in a single call, so that a kill leaves at most its own line torn.

        A number that is none becomes null. Raises: ResourceError("disk-full").
        """
        data = json.dumps({k: _number(v) for k, v in line.items()}).encode() + b"\n"
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise files.trouble(self.path, error) from error

    def position(self) -> dict[str, Any]:  # Any: JSON values
        """Flush to disk and return size and hash of everything written."""
        if self._writes:
            os.fsync(self._file.fileno())
        data = self.path.read_bytes()
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def rewind(self, position: dict[str, Any]) -> None:  # Any: JSON values
        """Forget what came after `position`. Raises: CheckpointError("log-changed")."""
        if not self._writes:
            return
        data = self.path.read_bytes()[: position["bytes"]]
        if hashlib.sha256(data).hexdigest() != position["sha256"]:
            raise CheckpointError(
                "log-changed", f"{str(self.path)!r} is not the log this checkpoint was written with"
            )
        os.ftruncate(self._file.fileno(), position["bytes"])

    def values(self, name: str) -> list[float]:
        """Return what was measured in every step that has it, for instance its loss."""
        found = [json.loads(line).get(name) for line in self.path.read_bytes().splitlines()]
        return [value for value in found if value is not None]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _number(value: Any) -> Any:  # Any: JSON values
    return None if isinstance(value, float) and not math.isfinite(value) else value
