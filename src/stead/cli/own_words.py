"""A hint in the user's own words: the command that was typed, with what has to change at its end.

Knows nothing about errors or what the options mean. Below the command line a run has no command yet,
so its hints say `stead train RECIPE …`, or name no more than model and data.
"""

import re
import shlex
from collections.abc import Sequence

_COMMANDS = ("train", "plan")
_CHANGE = re.compile(
    r"stead (?:train|plan) (?:RECIPE|--model (?:'[^']*'|\S+) --data (?:'[^']*'|\S+)) (-.+)"
)


def own_words(hint: str | None, argv: Sequence[str]) -> str | None:
    """Return the hint as what `argv` said and then the change; later options win over earlier ones.

    >>> own_words("stead train RECIPE --adapter full", ["plan", "my run.yaml", "--adapter", "lora"])
    "stead plan 'my run.yaml' --adapter lora --adapter full"
    """
    found = None if hint is None else _CHANGE.fullmatch(hint)
    if found is None or not argv or argv[0] not in _COMMANDS:
        return hint
    return shlex.join(["stead", *argv, *shlex.split(found.group(1))])
