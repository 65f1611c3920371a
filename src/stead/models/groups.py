"""Rows of weights that are cut into groups of equal size, and the refusal of those that cannot be.

Knows nothing about what is done to a group. Light: a plan asks before anything is loaded.
"""

from typing import Any

from stead.core.errors import ModelError
from stead.models import peft_files


def check(width: int, group: int, name: str, setting: str) -> None:
    """Refuse rows of `width` weights that are no whole groups. Raises: ModelError("group-size")."""
    if width % group == 0:
        return
    near = max(n for n in range(1, group + 1) if width % n == 0)
    where = f" of {name}" if name else ""
    raise ModelError(
        "group-size",
        f"rows of {width} weights{where} cannot be cut into groups of {group} ({setting}); {near} would do",
        hint=f"stead train RECIPE -s adapter.group={near}" if "group=" in setting else None,
    )


def check_model(facts: Any, group: int, setting: str) -> int:  # Any: planning's ModelFacts
    """Refuse a stored model whose layers' rows are no whole groups; return its parameters, all trained."""
    for name, shape in peft_files.matrices(facts, "all-linear") if group > 0 else ():
        check(shape[1], group, name, setting)
    return int(facts.parameters)
