"""A folder given as data: which of its files are read, and why the others are left out.

Knows nothing about columns or formats. Folders inside are not looked into.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stead.core.errors import DataError

_ABOUT = frozenset({  # files that describe a data set and are none of its rows
    "readme", "license", "licence", "changelog", "citation", "notice", "contributing",
    "dataset_info", "dataset_infos", "state", "dataset_dict",
})  # fmt: skip
_SHOWN = 6  # files named in one sentence


@dataclass(frozen=True, slots=True)
class Listing:
    """The files that are read, in order, and the reason for each entry that is not, by its name."""

    folder: str
    files: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """Say in one sentence what is read and what is not."""
        count = len(self.files)
        read = f"the folder {self.folder!r}: {count} file{'s' * (count != 1)} read ({_some([Path(f).name for f in self.files])})"
        if not self.left_out:
            return read
        return f"{read}, {len(self.left_out)} left out: {_others(self.left_out)}"


def listing(folder: str, suffixes: Collection[str]) -> Listing:
    """Look at a folder; `suffixes` are those of files that hold rows.

    Raises: DataError("empty-folder") when it holds no file with rows, naming what it holds.
    """
    files, left_out = [], {}
    for path in sorted(Path(folder).iterdir()):
        why = _why_not(path, suffixes)
        if why is None:
            files.append(str(path))
        else:
            left_out[path.name] = why
    if files:
        return Listing(folder, tuple(files), left_out)
    below = [p for p in sorted(Path(folder).iterdir()) if p.is_dir() and _holds(p, suffixes)]
    held = f"; it holds {_others(left_out)}" if left_out else ""
    raise DataError(
        "empty-folder",
        f"the folder {folder!r} holds no file with rows ({', '.join(sorted(suffixes))}){held}",
        hint=f"stead data inspect {shlex.quote(str(below[0]))}" if below else f"ls -la {shlex.quote(folder)}",
    )  # fmt: skip


def _why_not(path: Path, suffixes: Collection[str]) -> str | None:
    if path.is_dir():
        return "a folder"
    if path.name.startswith("."):
        return "hidden"
    if path.stem.lower() in _ABOUT:
        return "describes the data"
    if path.suffix.lower() not in suffixes:
        return "no rows by its name"
    if not path.is_file():
        return "no regular file"
    return "empty" if path.stat().st_size == 0 else None


def _holds(folder: Path, suffixes: Collection[str]) -> bool:
    return any(_why_not(path, suffixes) is None for path in folder.iterdir())


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _others(left_out: Mapping[str, str]) -> str:
    return _some([f"{name} ({why})" for name, why in left_out.items()])
