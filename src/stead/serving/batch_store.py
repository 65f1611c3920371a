"""Batches on disk: what was asked for, how far it is, and each answer as soon as it is there.

Knows nothing about HTTP or models. Every method blocks; call it off the loop. Layout, below the owner's
folder of the file store: `<id>.json` is the state, written whole; `<id>.part` has a line per answered
request and is only ever added to, so that a killed server goes on where it was.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from stead.core import files
from stead.core.errors import NotFound
from stead.serving.file_store import FileStore, safe_id

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "cancelling",
                 "cancelled", "expired"]  # fmt: skip
_OVER = ("failed", "completed", "cancelled", "expired")
WINDOW_S = 24 * 3600


class Counts(msgspec.Struct):
    """How many requests a batch has, and how many are answered."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(msgspec.Struct, kw_only=True, omit_defaults=False):
    """A batch as the OpenAI API tells of it (schema Batch), and whose it is."""

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    created_at: int
    expires_at: int
    object: str = "batch"
    completion_window: str = "24h"
    status: Status = "validating"
    errors: dict[str, Any] | None = None  # Any: JSON values
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: Counts = msgspec.field(default_factory=Counts)
    metadata: dict[str, str] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in _OVER

    def wire(self) -> dict[str, Any]:  # Any: JSON values
        """Return the object that clients see."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        del found["owner"]
        return found


class BatchStore:
    """The batches beside the files of a FileStore."""

    def __init__(self, store: FileStore, clock: Callable[[], float] = time.time) -> None:
        self.files = store
        self._clock = clock

    def now(self) -> int:
        """Return the time in seconds since 1970."""
        return int(self._clock())

    def create(
        self, owner: str, endpoint: str, file_id: str, metadata: dict[str, str] | None
    ) -> Batch:
        """Write down a new batch."""
        now = self.now()
        made = Batch(
            id=f"batch_{uuid.uuid4().hex}",
            owner=owner,
            endpoint=endpoint,
            input_file_id=file_id,
            created_at=now,
            expires_at=now + WINDOW_S,
            metadata=metadata,
        )
        self.save(made)
        return made

    def move(self, batch: Batch, status: Status) -> None:
        """Note a new state with its time."""
        batch.status = status
        setattr(batch, f"{status}_at", self.now())
        self.save(batch)

    def fail(self, batch: Batch, errors: list[dict[str, Any]]) -> None:
        """Note that a batch cannot be run, and why."""
        batch.errors = {"object": "list", "data": errors}
        self.move(batch, "failed")

    def save(self, batch: Batch) -> None:
        """Write the state."""
        path = self.files.folder(batch.owner) / f"{batch.id}.json"
        files.write_bytes(path, msgspec.json.encode(batch), 0o600)

    def get(self, owner: str, id_: str) -> Batch:
        """Return a batch. Raises: NotFound("no-such-batch"), of others' batches too."""
        path = self.files.folder(owner) / f"{safe_id(id_)}.json"
        found = _read(path) if id_.startswith("batch_") else None
        if found is None:
            raise NotFound("no-such-batch", f"there is no batch {id_[:100]!r}", param="batch_id")
        return found

    def owned(self, owner: str) -> list[Batch]:
        """Return an owner's batches, the newest first."""
        found = [_read(p) for p in self.files.folder(owner).glob("batch_*.json")]
        known = [b for b in found if b is not None]
        return sorted(known, key=lambda b: (b.created_at, b.id), reverse=True)

    def unfinished(self) -> list[Batch]:
        """Return every owner's batches that are not over, the oldest first."""
        found = [_read(p) for p in self.files.root.glob("*/batch_*.json")]
        open_ = [b for b in found if b is not None and not b.over]
        return sorted(open_, key=lambda b: (b.created_at, b.id))

    def part(self, batch: Batch) -> Path:
        """Return where the answers gather."""
        return self.files.folder(batch.owner) / f"{batch.id}.part"

    def answered(self, batch: Batch) -> dict[str, bool]:
        """Return the custom ids that are answered, and whether well; a torn last line is cut off."""
        path = self.part(batch)
        if not path.is_file():
            return {}
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            files.write_bytes(path, whole, 0o600)
        lines = [_LINE.decode(line) for line in whole.splitlines()]
        return {line.custom_id: line.good for line in lines}

    def appending(self, batch: Batch) -> IO[bytes]:
        """Open the answers for adding."""
        return self.part(batch).open("ab", buffering=0)

    def finish(self, batch: Batch, status: Status) -> None:
        """Make the output and the error file of what was answered, then note the end."""
        batch.output_file_id = self._file(batch, good=True)
        batch.error_file_id = self._file(batch, good=False)
        self.move(batch, status)
        self.part(batch).unlink(missing_ok=True)

    def _file(self, batch: Batch, *, good: bool) -> str | None:
        with self.files.spool() as file:
            count = 0
            for line in _lines(self.part(batch)):
                if _LINE.decode(line).good is good:
                    file.write(line)
                    count += 1
            if not count:
                return None
            name = f"{batch.id}_{'output' if good else 'error'}.jsonl"
            return self.files.keep(batch.owner, file, name, "batch_output").id


class _Response(msgspec.Struct):
    status_code: int = 0


class _Line(msgspec.Struct):
    """As much of an answer as the store looks at."""

    custom_id: str
    response: _Response | None = None

    @property
    def good(self) -> bool:
        return self.response is not None and self.response.status_code == 200


_LINE = msgspec.json.Decoder(_Line)
_BATCH = msgspec.json.Decoder(Batch)


def _lines(path: Path) -> Iterator[bytes]:
    if path.is_file():
        with path.open("rb") as file:
            yield from file


def _read(path: Path) -> Batch | None:
    """Return a batch; None when there is none of that name, or it was damaged."""
    try:
        return _BATCH.decode(path.read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
