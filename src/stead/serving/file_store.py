"""Files that clients upload, on disk: each key sees its own, ids cannot be guessed.

Knows nothing about HTTP. Every method blocks; call it off the loop. Layout: `<owner>/<id>.json` tells of
a file, `<owner>/<id>.bin` holds it; the description is written last, so a file is whole or absent.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from stead.core import files
from stead.core.errors import NotFound, RateLimited
from stead.core.paths import safe_name

UPLOADS = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_SPOOL = ".upload-"
_STALE_S = 86_400
_NAME_LETTERS = 255


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is told of a file; times in seconds since 1970."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None


class FileStore:
    """The files below `root`. `limit_bytes` and `limit_files` bound what one owner may keep."""

    def __init__(
        self,
        root: Path,
        *,
        limit_bytes: int = 2**30,
        limit_files: int = 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.root = root
        self._limit_bytes = limit_bytes
        self._limit_files = limit_files
        self.clock = clock

    def folder(self, owner: str) -> Path:
        """Return the folder of a key's id, which is no path itself."""
        return self.root / (hashlib.sha256(owner.encode()).hexdigest()[:32] if owner else "local")

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """Open a nameless file to write into; it is removed unless it was kept."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile(dir=self.root, prefix=_SPOOL, delete=False) as file:
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)

    def keep(
        self,
        owner: str,
        file: IO[bytes],
        filename: str,
        purpose: str,
        expires_s: int | None = None,
        *,
        id_: str | None = None,
    ) -> FileFacts:
        """Give a spooled file its id, a new one unless it is given; from then on it is there.

        Raises: RateLimited("too-many-files") over the owner's limits; ResourceError("disk-full").
        """
        file.flush()
        path = Path(file.name)
        size, now = path.stat().st_size, int(self.clock())
        self._check_room(owner, size)
        facts = FileFacts(
            f"file-{uuid.uuid4().hex}" if id_ is None else id_, filename[:_NAME_LETTERS], purpose, size, now,
            None if expires_s is None else now + expires_s,
        )  # fmt: skip
        folder = self.folder(owner)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.publish(path, folder / f"{facts.id}.bin")
        files.write_json(folder / f"{facts.id}.json", asdict(facts), 0o600)
        return facts

    def _check_room(self, owner: str, more_bytes: int) -> None:
        kept = self.owned(owner)
        size = sum(f.bytes for f in kept) + more_bytes
        if len(kept) >= self._limit_files or size > self._limit_bytes:
            raise RateLimited(
                "too-many-files",
                f"{len(kept)} files, {size} bytes with this one: at most {self._limit_files} files "
                f"and {self._limit_bytes} bytes are kept for a key; delete some",
            )

    def sweep(self) -> None:
        """Remove uploads that a killed server left behind, a day later."""
        for path in self.root.glob(_SPOOL + "*"):
            if path.stat().st_mtime < self.clock() - _STALE_S:
                path.unlink(missing_ok=True)

    def owned(self, owner: str) -> list[FileFacts]:
        """Return an owner's files, the newest first; what has expired is removed."""
        folder = self.folder(owner)
        if not folder.is_dir():
            return []
        found = [self._read(path) for path in folder.glob("file-*.json")]
        alive = [f for f in found if f is not None and not self._expire(owner, f)]
        return sorted(alive, key=lambda f: (f.created_at, f.id), reverse=True)

    def get(self, owner: str, id_: str) -> FileFacts:
        """Return a file's facts. Raises: NotFound("no-such-file"), of others' files too."""
        path = self.folder(owner) / f"{safe_id(id_)}.json"
        found = self._read(path) if path.is_file() else None
        if found is None or self._expire(owner, found):
            raise NotFound("no-such-file", f"there is no file {id_[:100]!r}", param="file_id")
        return found

    def path(self, owner: str, id_: str) -> Path:
        """Return where a file's bytes are. Raises: NotFound("no-such-file")."""
        return self.folder(owner) / f"{self.get(owner, id_).id}.bin"

    def delete(self, owner: str, id_: str) -> None:
        """Remove a file. Raises: NotFound("no-such-file")."""
        self._remove(owner, self.get(owner, id_).id)

    def _remove(self, owner: str, id_: str) -> None:
        for end in (".json", ".bin"):
            (self.folder(owner) / f"{id_}{end}").unlink(missing_ok=True)

    def _expire(self, owner: str, facts: FileFacts) -> bool:
        over = facts.expires_at is not None and facts.expires_at <= self.clock()
        if over:
            self._remove(owner, facts.id)
        return over

    @staticmethod
    def _read(path: Path) -> FileFacts | None:
        """Return a file's facts; None when it is being removed or was damaged."""
        try:
            return FileFacts(**files.read_json(path))
        except (NotFound, ValueError, TypeError):
            return None


def safe_id(id_: str) -> str:
    """Return an id fit for a file name. Raises: NotFound, UnsafeError("invalid-name")."""
    return safe_name(id_)


def wire(facts: FileFacts) -> dict[str, Any]:  # Any: JSON values
    """Return the file object of the OpenAI API (schema OpenAIFile)."""
    made = {"object": "file", "status": "processed", **asdict(facts)}
    if facts.expires_at is None:
        del made["expires_at"]
    return made
