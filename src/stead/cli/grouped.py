"""Options in groups: a parameter of a command that is a dataclass becomes its fields' options.

Knows nothing about single commands. A command of twenty options reads as `command(chosen: Chosen,
door: Door, …)`; Typer sees the options one by one, in that order.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command with each group of options taken apart for Typer, and put together for it.

    A group is a frozen dataclass whose fields are `Annotated[type, typer.Option(…)]`.
    """
    shown: dict[str, inspect.Parameter] = {}
    groups: dict[str, tuple[type[Any], list[str]]] = {}  # Any: a dataclass
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind = parameter.annotation
        if not dataclasses.is_dataclass(kind) or not isinstance(kind, type):
            shown[parameter.name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        options = options_of(kind)
        groups[parameter.name] = kind, [option.name for option in options]
        shown |= {option.name: option for option in options}
    return shaped(function, list(shown.values()), lambda given: _together(given, groups))


def options_of(group: type[Any]) -> list[inspect.Parameter]:  # Any: a dataclass
    """Return a group's fields as parameters, with their defaults."""
    hints = get_type_hints(group, include_extras=True)
    empty = inspect.Parameter.empty
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]


def shaped(
    function: Callable[..., None],
    parameters: list[inspect.Parameter],
    arguments: Callable[[dict[str, Any]], dict[str, Any]],  # Any: the values of the options
) -> Callable[..., None]:
    """Return a command with these parameters that calls `function` with what `arguments` makes of them."""

    def command(**given: Any) -> None:  # Any: the values of the options
        function(**arguments(given))

    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__module__ = function.__module__
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # PEP 362, read by Typer
    return command


def _together(
    given: dict[str, Any], groups: dict[str, tuple[type[Any], list[str]]]
) -> dict[str, Any]:
    made = {
        name: kind(**{n: given.pop(n) for n in names}) for name, (kind, names) in groups.items()
    }
    return made | given
