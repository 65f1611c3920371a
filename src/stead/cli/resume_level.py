"""`--resume-level`: under which changed conditions a run may go on.

Knows nothing about checkpoints; what a level allows is `training/saving`'s.
"""

from typing import Annotated

import typer

from stead.core.errors import ConfigError

_LEVELS = ("exact", "same-order", "best-effort")
Level = Annotated[
    str | None,
    typer.Option(
        "--resume-level", help="Resume under changed conditions: same-order or best-effort."
    ),
]


def known(level: str) -> str:
    """Return the level. Raises: ConfigError("bad-option")."""
    if level not in _LEVELS:
        raise ConfigError(
            "bad-option",
            f"--resume-level is {level!r}, not {', '.join(_LEVELS[:-1])} or {_LEVELS[-1]}",
            hint="stead train --help",
        )
    return level
