"""Limits of what a chat template may compute: steps, time, sizes, checked before memory is taken.

Knows nothing about jinja; `template` calls these at every place where a text or list can grow.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from stead.core.errors import UnsafeError

SOURCE_LIMIT = 1 << 18  # characters; the longest template of a known family has 20,000
OUTPUT_LIMIT = 1 << 20  # characters added to what the messages hold themselves
STEP_LIMIT = 200_000  # loop turns and macro calls; 2,000 messages need about 20,000
TIME_LIMIT_S = 2.0


class Budget:
    """The steps and seconds of one render."""

    def __init__(self) -> None:
        self.steps = 0
        self.deadline = 0.0

    def start(self) -> None:
        """Begin a render."""
        self.steps = 0
        self.deadline = time.monotonic() + TIME_LIMIT_S

    def spend(self, steps: int = 1) -> None:
        """Count steps. Raises: UnsafeError("template-too-much")."""
        self.steps += steps
        if self.steps > STEP_LIMIT:
            raise too_much(f"more than {STEP_LIMIT} steps")
        if self.steps % 256 == 0 and time.monotonic() > self.deadline:
            raise too_much(f"more than {TIME_LIMIT_S:g} s")


def too_much(what: str) -> UnsafeError:
    """Return the refusal of a template that wants too much of something."""
    return UnsafeError("template-too-much", f"the chat template wants {what}")


def unsafe(what: str) -> UnsafeError:
    """Return the refusal of a template that uses something forbidden."""
    return UnsafeError("template-unsafe", f"the chat template uses {what}")


def fits(chars: int) -> None:
    """Refuse a text of more than the limit before it is made."""
    if chars > OUTPUT_LIMIT:
        raise too_much(f"a text of {chars} characters")


def measure(value: Any, left: int = OUTPUT_LIMIT) -> int:  # Any: template values
    """Return what is left of `left` after the printed size of a nested value, or refuse."""
    if left < 0:
        raise too_much(f"to print more than {OUTPUT_LIMIT} characters")
    if isinstance(value, str):
        return left - len(value)
    if isinstance(value, Mapping):
        for key, inside in value.items():
            left = measure(inside, left - len(str(key)) - 4)
        return left
    if isinstance(value, list | tuple):
        for inside in value:
            left = measure(inside, left - 2)
    return left - 4


def _add_fits(left: Any, right: Any) -> None:
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        fits(len(left) + len(right))


def _multiply_fits(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple) and isinstance(other, int):
            fits(len(one) * max(0, other))
    if isinstance(left, int) and isinstance(right, int):
        fits(left.bit_length() + right.bit_length())


def _power_fits(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        fits(left.bit_length() * max(1, abs(right)) * 8)


def _modulo_fits(left: Any, right: Any) -> None:
    if isinstance(left, str):
        raise unsafe("text formatting with %")


BINOPS: dict[str, Callable[[Any, Any], None]] = {
    "+": _add_fits,
    "*": _multiply_fits,
    "**": _power_fits,
    "%": _modulo_fits,
}


def measure_call(name: str, owner: str, args: tuple[Any, ...]) -> None:
    """Refuse a text method whose result would be too long."""
    if name == "replace" and len(args) >= 2 and all(isinstance(a, str) for a in args[:2]):
        fits(len(owner) + owner.count(args[0]) * len(args[1]))
    if name == "join" and args and isinstance(args[0], list | tuple):
        fits(len(owner) * len(args[0]))
        measure(args[0])


def tojson(
    value: Any,  # Any: JSON values
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Print JSON as transformers does: no HTML escapes, non-ASCII as it is."""
    measure(value)
    if isinstance(indent, int) and indent > 16:
        raise too_much(f"JSON indented by {indent!r}")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse numbers that blow a text up before a filter runs, and long results after it."""
    name = function.__name__.removeprefix("do_").removeprefix("sync_do_")

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:  # Any: whatever the filter takes and gives
        for value in (*args, *kwargs.values()):
            if name in ("indent", "batch", "slice") and isinstance(value, int) and value > 1000:
                raise too_much(f"the filter {name!r} with {value!r}")
        texts = [v for v in args if isinstance(v, str)]
        if name == "replace" and len(texts) >= 3:
            measure_call("replace", texts[0], tuple(texts[1:3]))
        if name in ("join", "string", "indent"):
            measure([v for v in args if isinstance(v, list | tuple | dict | str)])
            items = max((len(v) for v in args if isinstance(v, list | tuple)), default=0)
            fits(items * sum(map(len, texts)))
        result = function(*args, **kwargs)
        if isinstance(result, str):
            fits(len(result))
        return result

    return run
