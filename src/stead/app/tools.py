"""Python functions as tools: their JSON schema, and the loop that runs what the model asks for.

Knows nothing about models. The signature gives the schema, the docstring the descriptions; arguments
are checked before a function is called, and whatever goes wrong is told to the model.
"""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, get_type_hints

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import to_json

from stead.core.errors import BackendError, ConfigError
from stead.inference.backend import close_stream
from stead.inference.fan import merge_usage
from stead.inference.gather import Gathered
from stead.messages import Chunk, GenerateRequest, Message, Reply, ToolCall, Usage

Function = Callable[..., Any]  # Any: a tool returns what it likes
Ask = Callable[[GenerateRequest], Awaitable[Reply]]
Stream = Callable[[GenerateRequest], AsyncIterator[Chunk]]
ROUNDS = 8
_RESULT_LETTERS = 100_000  # of one result; a model's context is no larger
_PARAM = re.compile(r"^\s*(?::param )?\*{0,2}(\w+)(?: \([^)]*\))?:\s+(\S.*)$")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Tool:
    """One function. Raises: ConfigError("bad-tool") for one that cannot be described."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self.name: str = getattr(function, "__name__", "")
        if not _NAME.fullmatch(self.name):
            raise ConfigError("bad-tool", f"{function!r} has no name that a model can call")
        about, params = _doc(function)
        self._about = about
        self._arguments = _arguments(function, self.name, params)

    def schema(self) -> dict[str, Any]:  # Any: JSON schema
        """Return the tool as protocols describe it."""
        parameters = self._arguments.model_json_schema()
        parameters.pop("title", None)
        for value in parameters.get("properties", {}).values():
            value.pop("title", None)
        made = {"name": self.name, "parameters": parameters}
        if self._about:
            made["description"] = self._about
        return {"type": "function", "function": made}

    async def run(self, arguments: str) -> str:
        """Call the function with the model's JSON; return its result or its error as text."""
        try:
            found = self._arguments.model_validate_json(arguments if arguments.strip() else "{}")
            given = {name: getattr(found, name) for name in type(found).model_fields}
            if inspect.iscoroutinefunction(self._function):
                result = await self._function(**given)
            else:
                result = await asyncio.to_thread(self._function, **given)
            return _text(result)
        except ValidationError as error:
            told = error.errors(include_url=False, include_context=False)
            return "error: the arguments are wrong: " + _text(told)
        except Exception as error:  # house: broad-except - a tool's fault is the model's to mend
            return f"error: {type(error).__name__}: {error}"


def functions_in(tools: Sequence[Any]) -> dict[str, Tool]:  # Any: functions, or JSON schemas
    """Return the functions among `tools` by name; {} when all are schemas, which are only passed on.

    Raises: ConfigError("mixed-tools", "bad-tool").
    """
    made = [Tool(tool) for tool in tools if callable(tool)]
    if made and len(made) < len(tools):
        raise ConfigError(
            "mixed-tools", "tools are functions, which are called, or schemas, which are not"
        )
    found = {tool.name: tool for tool in made}
    if len(found) < len(made):
        raise ConfigError("bad-tool", "two tools have the same name")
    return found


async def loop(
    ask: Ask, request: GenerateRequest, tools: dict[str, Tool], rounds: int = ROUNDS
) -> Reply:
    """Ask, run the tools that are called, tell their results, until there is an answer.

    Calls of one round run side by side, their results in the order of the calls. The usage is that
    of all rounds. Raises: BackendError("too-many-rounds") when the model never comes to an end.
    """
    request = _with(request, tools)
    usages = []
    for _ in range(rounds):
        reply = await ask(request)
        usages.append(reply.usage)
        message = reply.choices[0].message
        if not message.tool_calls:
            return replace(reply, usage=merge_usage(usages, same_prompt=False))
        request = await _next_round(request, message, tools)
    raise _endless(rounds)


async def stream_loop(
    stream: Stream, request: GenerateRequest, tools: dict[str, Tool], rounds: int = ROUNDS
) -> AsyncIterator[Chunk]:
    """Do as `loop` does, and tell every piece as it comes: texts, and the calls of each round.

    Calls are numbered on from round to round. The end and the usage, that of all rounds, come once.
    A stream that stops short of its end calls nothing. Raises: as `loop`.
    """
    request = _with(request, tools)
    usages: list[Usage] = []
    called = 0
    for _ in range(rounds):
        gathered, ends = Gathered(), list[Chunk]()
        chunks = stream(request)
        try:
            async for chunk in chunks:
                gathered.add(chunk)
                if chunk.finish_reason is not None or chunk.usage is not None:
                    ends.append(chunk)
                else:
                    yield _numbered(chunk, called)
        finally:
            await close_stream(chunks)
        reply = gathered.reply()
        usages += [chunk.usage for chunk in ends if chunk.usage is not None]
        calls = () if reply is None else reply.choices[0].message.tool_calls
        if reply is None or not calls:
            for chunk in ends:
                yield (
                    chunk
                    if chunk.usage is None
                    else replace(chunk, usage=merge_usage(usages, same_prompt=False), raw=None)
                )
            return
        for chunk in ends:  # of this round only: its calls and words, not its end
            if chunk.tool_calls or chunk.text:
                yield _numbered(replace(chunk, finish_reason=None, usage=None, raw=None), called)
        called += len(calls)
        request = await _next_round(request, reply.choices[0].message, tools)
    raise _endless(rounds)


def _with(request: GenerateRequest, tools: dict[str, Tool]) -> GenerateRequest:
    return replace(request, tools=tuple(tool.schema() for tool in tools.values()))


def _numbered(chunk: Chunk, before: int) -> Chunk:
    """Return a piece whose calls come after those of earlier rounds."""
    if not chunk.tool_calls or not before:
        return chunk
    moved = tuple(replace(delta, index=delta.index + before) for delta in chunk.tool_calls)
    return replace(chunk, tool_calls=moved, raw=None)


async def _next_round(
    request: GenerateRequest, message: Message, tools: dict[str, Tool]
) -> GenerateRequest:
    """Run what a message calls, side by side; return the request that tells the results."""
    results = await asyncio.gather(*(_result(tools, call) for call in message.tool_calls))
    asked = request.messages if request.messages is not None else ()
    return replace(
        request,
        messages=(*asked, message, *results),
        tool_choice=None if request.tool_choice != "none" else "none",
    )


def _endless(rounds: int) -> BackendError:
    return BackendError(
        "too-many-rounds", f"the model still calls tools after {rounds} rounds", rounds=rounds
    )


async def _result(tools: dict[str, Tool], call: ToolCall) -> Message:
    tool = tools.get(call.name)
    if tool is None:
        text = f"error: there is no tool {call.name!r}; there are: {', '.join(tools)}"
    else:
        text = await tool.run(call.arguments)
    return Message("tool", text, name=call.name, tool_call_id=call.id)


def _text(value: Any) -> str:  # Any: a tool's result
    text = value if isinstance(value, str) else to_json(value, fallback=str).decode()
    return text[:_RESULT_LETTERS]


def _arguments(function: Function, name: str, about: dict[str, str]) -> type[BaseModel]:
    """Return a model of a function's parameters. Raises: ConfigError("bad-tool")."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}  # Any: what pydantic takes
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or (
            parameter.kind is parameter.POSITIONAL_ONLY
        ):
            raise ConfigError("bad-tool", f"{name}({parameter}): every parameter needs a name")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[key] = (hints.get(key, str), Field(default, description=about.get(key)))
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except (TypeError, NameError, ValueError) as error:
        raise ConfigError("bad-tool", f"{name}: its parameters have no schema: {error}") from error


def _doc(function: Function) -> tuple[str, dict[str, str]]:
    """Return a docstring's words before its parameters, and what it says of each of them."""
    text = inspect.getdoc(function)
    names = set(inspect.signature(function).parameters)
    about: list[str] = []
    params: dict[str, str] = {}
    for line in (text if text is not None else "").splitlines():
        found = _PARAM.match(line)
        if found is not None and found[1] in names:
            params[found[1]] = found[2]
        elif not params and line.strip().rstrip(":") not in ("Args", "Arguments", "Parameters"):
            about.append(line.strip())
    return " ".join(" ".join(about).split()), params
