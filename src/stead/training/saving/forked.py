"""Where a run began that goes on from another run's checkpoint: `fork.json` in its folder.

Knows nothing about checkpoints. Light: whoever makes a fork writes it, whoever trains reads it.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stead.core import files

NAME = "fork.json"


@dataclass(frozen=True, slots=True)
class Fork:
    """The run and step a fork goes on from, and the settings that are other ones: key → [old, new]."""

    run: str
    path: str
    step: int
    changes: dict[str, list[Any]] = field(default_factory=dict)  # Any: JSON values

    def write(self, folder: Path) -> None:
        """Write it into the fork's folder."""
        files.write_json(folder / NAME, asdict(self))

    def told(self) -> str:
        """Return the changes for people; "nothing" when there are none."""
        told = [f"{key} {old!r} → {new!r}" for key, (old, new) in self.changes.items()]
        return ", ".join(told) if told else "nothing"


def read(folder: Path) -> Fork | None:
    """Return where the run in `folder` began, if it is a fork."""
    path = folder / NAME
    return Fork(**files.read_json(path)) if path.is_file() else None
