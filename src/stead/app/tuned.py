"""What was fine-tuned through OpenAI's surface: one small file per job beside its owner's uploads.

Knows nothing about HTTP, jobs or training. A file is written twice: when the job is ordered, and when its files have
been read. How far a job is from then on stands in the store; here is what it was asked for, and its model's name.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from stead.app.identity import OWNER
from stead.core import files
from stead.core.errors import NotFound
from stead.core.paths import Home
from stead.serving.file_store import FileStore, safe_id

_MOST_NAMES = 10_000


class Fault(msgspec.Struct, frozen=True):
    """Why a job did not begin, in the words of OpenAI's API."""

    code: str
    message: str
    param: str | None = None


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `created_at` in seconds since 1970, with their parts: it orders the jobs; `hyperparameters` as they were asked for.

    Without a `run` its files are being read, unless it ended before it began: `ended_at` with a `fault`, or cancelled
    without one. `by`: the person who ordered it. `config`, `tags`: the run that it will be.
    """

    id: str
    owner: str
    by: str = OWNER
    run: str = ""
    name: str
    model: str
    training_file: str
    created_at: float
    seed: int
    method: str = "supervised"
    validation_file: str | None = None
    hyperparameters: dict[str, float | int | str] = {}
    metadata: dict[str, str] | None = None
    config: dict[str, Any] | None = None  # Any: a recipe's JSON values
    tags: list[str] = []
    fault: Fault | None = None
    ended_at: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether its files have been read: nothing here changes any more."""
        return bool(self.run) or self.ended_at is not None


_DECODER = msgspec.json.Decoder(Tuned)


class TunedStore:
    """The jobs beside the files of a FileStore. Every method blocks."""

    def __init__(self, store: FileStore) -> None:
        self._files = store
        self._known: dict[Path, Tuned] = {}

    @classmethod
    def of(cls, home: Home) -> "TunedStore":
        """Return those of a data directory."""
        return cls(FileStore(home.root / "files"))

    def save(self, tuned: Tuned) -> None:
        """Write a job down."""
        folder = self._files.folder(tuned.owner)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_bytes(folder / f"{tuned.id}.json", msgspec.json.encode(tuned), 0o600)

    def get(self, owner: str, id_: str) -> Tuned:
        """Return a job. Raises: NotFound("no-such-job"), of others' jobs too."""
        path = self._files.folder(owner) / f"{safe_id(id_)}.json"
        found = self._read(path) if id_.startswith("ftjob-") else None
        if found is None:
            raise NotFound(
                "no-such-job", f"Could not find fine tune: {id_[:100]}", param="fine_tuning_job_id"
            )
        return found

    def owned(self, owner: str) -> list[Tuned]:
        """Return an owner's jobs, the newest first."""
        found = self._all(self._files.folder(owner), "ftjob-*.json")
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)

    def named(self) -> dict[str, Tuned]:
        """Return every owner's jobs by the name of the model, the newest `_MOST_NAMES`."""
        found = sorted(
            self._all(self._files.root, "*/ftjob-*.json"), key=lambda one: one.created_at
        )
        return {one.name: one for one in found[-_MOST_NAMES:] if one.run}

    def unsettled(self) -> list[Tuned]:
        """Return every owner's jobs whose files nobody has finished reading, the oldest first."""
        found = (one for one in self._all(self._files.root, "*/ftjob-*.json") if not one.is_settled)
        return sorted(found, key=lambda one: one.created_at)

    def _all(self, folder: Path, pattern: str) -> Iterator[Tuned]:
        for path in folder.glob(pattern):
            found = self._read(path)
            if found is not None:
                yield found

    def _read(self, path: Path) -> Tuned | None:
        known = self._known.get(path)
        if known is None:
            try:
                known = _DECODER.decode(path.read_bytes())
            except (FileNotFoundError, msgspec.MsgspecError):
                return None
            if known.is_settled:
                self._known[path] = known
        return known


def folder_of(home: Home, tuned: Tuned) -> Path:
    """Return the folder of a job's run: this surface places none elsewhere."""
    return home.runs / tuned.run
