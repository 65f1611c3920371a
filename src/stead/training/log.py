"""The per-step loss log: one JSON line per optimizer step, each step exactly once.

Knows nothing about what is logged. Holds no times, so that a resumed run has the same bytes as one
that nobody touched.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

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
        """Write one line in a single call, so that a kill leaves at most its own line torn."""
        self._file.write(json.dumps(line).encode() + b"\n")

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

    def losses(self) -> list[float]:
        """Return the loss of every step."""
        return [json.loads(line)["loss"] for line in self.path.read_bytes().splitlines()]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
