"""Who is using a model: one small file per user, so that nothing is removed under it.

Knows nothing about the models. A lease of a process that is gone (pid and start time) does not count.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from stead.core import files
from stead.core.errors import NotFound
from stead.core.paths import Home


def _folder(path: Path, home: Home) -> Path:
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    return home.state / "leases" / name


@contextmanager
def hold(path: Path, who: str, home: Home | None = None) -> Iterator[None]:
    """Keep the model at `path` from being removed while the block runs; `who` is told to others.

    Raises: NotFound("no-file") when the model went away before the lease was written.
    """
    folder = _folder(path, (Home.find() if home is None else home).ensure())
    note = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    files.write_json(
        note, {"pid": os.getpid(), "started": psutil.Process().create_time(), "who": who}
    )
    try:
        if not path.exists():
            raise NotFound("no-file", f"the model {str(path)!r} was removed")
        yield
    finally:
        note.unlink(missing_ok=True)


def holders(path: Path, home: Home) -> list[str]:
    """Name the living users of the model at `path`; leases of dead processes are cleared away."""
    found = []
    for note in sorted(_folder(path, home).glob("*.json")):
        with suppress(NotFound, ValueError, KeyError):  # gone meanwhile, or torn: nobody's
            lease = files.read_json(note)
            if _alive(lease["pid"], lease["started"]):
                found.append(f"{lease['who']} (pid {lease['pid']})")
            else:
                note.unlink(missing_ok=True)
    return found


def _alive(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False
