"""Which columns a reward's function asks for by its parameters' names, and whether the rows have them.

Knows nothing about calling it. A plan reads a file's text and runs none of it; a run asks the function.
"""

import ast
import inspect
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core.errors import ConfigError
from stead.core.lazy import require_named
from stead.core.suggest import nearest
from stead.planning.facts import DataFacts

OFFERED = ("completions", "counts", "messages", "prompts", "references", "stopped")


@dataclass(frozen=True, slots=True)
class Asks:
    """The names of a function's parameters; `takes_all`: it has **columns and gets every one."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    takes_all: bool = False


def of(function: Callable[..., Any]) -> Asks:
    """Return what a function asks for.

    Raises: TypeError for one that cannot be called by name; ValueError without a signature.
    """
    parameters = inspect.signature(function).parameters.values()
    first = [p for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if first:
        raise TypeError(f"its parameter {first[0].name!r} cannot be given by name")
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return Asks(
        tuple(p.name for p in named if p.default is p.empty),
        tuple(p.name for p in named if p.default is not p.empty),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def written(text: str) -> Asks | None:
    """Return what `file.py:name` asks for as its text says; None: only running it would tell.

    Raises: ConfigError("bad-function-name" | "unknown-function").
    """
    place, name = require_named(text)
    if not place.endswith(".py"):
        return None
    tree = ast.parse(Path(place).read_text(encoding="utf-8", errors="replace"))
    found = [node for node in ast.walk(tree) if name in _bound(node)]
    only = found[0] if len(found) == 1 and found[0] in tree.body else None
    if not isinstance(only, ast.FunctionDef | ast.AsyncFunctionDef) or only.decorator_list:
        return None  # a decorator may give another function
    a = only.args
    if a.posonlyargs:
        return None
    plain = [one.arg for one in a.args]
    split = len(plain) - len(a.defaults)
    by_name = list(zip(a.kwonlyargs, a.kw_defaults, strict=True))
    return Asks(
        (*plain[:split], *(one.arg for one, default in by_name if default is None)),
        (*plain[split:], *(one.arg for one, default in by_name if default is not None)),
        a.kwarg is not None,
    )


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a piece of code gives something to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.alias):
        yield (node.name if node.asname is None else node.asname).partition(".")[0]
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


def require(title: str, asks: Asks | None, rows: DataFacts, source: str) -> None:
    """Refuse a function that asks for columns no row has. Raises: ConfigError("reward-column")."""
    if asks is None or rows.extras is None:
        return
    check(
        title, asks, rows.extras, others=rows.columns,
        hint=f"stead data inspect {shlex.quote(source)}",
    )  # fmt: skip


def check(
    title: str, asks: Asks, columns: Collection[str], *, others: Sequence[str] = (),
    hint: str | None = None,
) -> None:  # fmt: skip
    """Refuse what is asked for and not in `columns`; `others` are there, but not handed on.

    Raises: ConfigError("reward-column") with the missing names, those there, and the nearest.
    """
    missing = [name for name in asks.required if name not in columns and name not in OFFERED]
    if not missing:
        return
    there = sorted(columns)
    kept = [name for name in missing if name in others]
    likely = None if kept else nearest(missing[0], [*there, *OFFERED])
    why = f"; {kept[0]!r} is there, but holds no plain text, number or list of them" if kept else ""
    meant = "" if likely is None else f"; did you mean {likely!r}?"
    raise ConfigError(
        "reward-column",
        f"the reward {title!r} asks for {' and '.join(map(repr, missing))}, which the rows do not have "
        f"(columns: {', '.join(there) or 'none'}; always given: {', '.join(OFFERED)}){why}{meant}",
        hint=hint, reward=title, missing=missing, columns=there,
    )  # fmt: skip
