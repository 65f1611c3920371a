"""Where run folders lie: those of the data directory, and those that `--out` put elsewhere.

Knows nothing about what is in them. One small file per folder elsewhere, written when a run starts;
a folder that is gone is no run. Issue 5's database takes this over.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from stead.core import files
from stead.core.errors import NotFound
from stead.core.paths import Home


def _notes(home: Home) -> Path:
    return home.state / "runs"


def register(home: Home, folder: Path) -> None:
    """Remember a run folder; one inside the data directory needs no note."""
    folder = folder.absolute()
    if folder.parent == home.runs.absolute():
        return
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:24]
    files.write_json(_notes(home.ensure()) / f"{name}.json", {"path": str(folder)})


def folders(home: Home) -> list[Path]:
    """Return every run folder that is still there, in no order that means anything."""
    found = [p for p in sorted(home.runs.glob("*")) if p.is_dir()]
    for note in sorted(_notes(home).glob("*.json")):
        with suppress(NotFound, ValueError, KeyError, TypeError):  # gone meanwhile, or no note
            found.append(Path(files.read_json(note)["path"]))
    return list(dict.fromkeys(p for p in found if p.is_dir()))
