"""The file that makes a folder a reward model: its name, and whether it is there.

Knows nothing about what is in it: `models/reward` reads it. Light.
"""

from pathlib import Path

from stead.core.errors import ModelError

HEAD = "reward_head.safetensors"


def reward_head(folder: Path) -> Path:
    """Return the head's file. Raises: ModelError("no-reward-head")."""
    path = folder / HEAD
    if not path.is_file():
        raise ModelError(
            "no-reward-head",
            f"{str(folder)!r} is no reward model: it has no {HEAD}",
            hint="stead train --method reward --help",
        )
    return path
