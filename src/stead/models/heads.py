"""The file that makes a folder a reward model: its name, and whether it is there.

Knows nothing about what is in it: `models/reward` reads it. Light.
"""

import shlex
from pathlib import Path

from stead.core.errors import ModelError

HEAD = "reward_head.safetensors"
FILES = (HEAD, "reward_head.json")  # what a copy of a reward model takes along
_SCORE = (
    "from stead.messages import Message as M; from stead.models.reward import RewardModel; "
    "print(RewardModel.open({!r}).score([[M('user', 'Hello'), M('assistant', 'Hi')]]))"
)


def refuse_scores(folder: Path) -> None:
    """Refuse a reward model where words are wanted. Raises: ModelError("reward-model")."""
    if (folder / HEAD).is_file():
        raise ModelError(
            "reward-model",
            f"{str(folder)!r} is a reward model: it says how good an answer is (its {HEAD} gives a "
            "number), and was not trained to write one",
            hint=f"python -c {shlex.quote(_SCORE.format(str(folder)))}",
        )


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
