"""Requests of Google's Gemini protocol, both directions, and what they leave out.

Knows nothing about one route or about answers. The model and whether to stream stand in the path, so
a request that is read back has neither, unless its body names the model. Source: the Gemini API
reference (ai.google.dev/api/generate-content).
"""

from typing import Any

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedRequest, GenerateRequest, Message
from stead.wire import given, seals
from stead.wire import google_messages as messages
from stead.wire import google_shape as shape
from stead.wire.dialect import Asked
from stead.wire.extras import carried
from stead.wire.openai_shape import decode_request, refuse


class _Tool(Struct, forbid_unknown_fields=True, rename="camel"):
    function_declarations: list[dict[str, Any]]


class _Calling(Struct, forbid_unknown_fields=True, rename="camel"):
    mode: str = "AUTO"
    allowed_function_names: list[str] | None = None


class _ToolConfig(Struct, forbid_unknown_fields=True, rename="camel"):
    function_calling_config: _Calling


class Body(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A request's body."""

    contents: list[messages.ContentShape]
    model: str = ""
    system_instruction: messages.ContentShape | None = None
    tools: list[_Tool] | None = None
    tool_config: _ToolConfig | None = None
    generation_config: shape.Config | None = None
    safety_settings: list[dict[str, Any]] | None = None
    cached_content: str | None = None


_REQUEST = msgspec.json.Decoder(Body)
_MODES = {"none": "NONE", "required": "ANY", "auto": "AUTO"}
_CHOICES = {"NONE": "none", "ANY": "required", "AUTO": "auto"}


def _write_tools(request: GenerateRequest) -> dict[str, Any]:  # Any: JSON values
    """Return the functions and how they are chosen; their schemas travel as JSON schemas."""
    if not request.tools:
        return {}
    declared = []
    for i, tool in enumerate(request.tools):
        function = tool.get("function")
        if not isinstance(function, dict):
            raise _unknown(f"tools[{i}]", tool)
        function = {k: v for k, v in function.items() if k != "strict"}
        if "parameters" in function:
            function["parametersJsonSchema"] = function.pop("parameters")
        declared.append(function)
    found: dict[str, Any] = {"tools": [{"functionDeclarations": declared}]}
    choice = request.tool_choice
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        calling: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [name]}
        found["toolConfig"] = {"functionCallingConfig": calling}
    elif choice is not None:
        if choice not in _MODES:
            raise _unknown("tool_choice", choice)
        found["toolConfig"] = {"functionCallingConfig": {"mode": _MODES[choice]}}
    return found


def _unknown(param: str, value: object) -> BackendError:
    return BackendError(
        "not-supported", f"{param} {value!r} is unknown to {shape.NAME}", status=400, param=param
    )


def _read_tools(asked: Body) -> tuple[dict[str, Any], ...]:
    found = []
    for declared in (f for t in asked.tools or () for f in t.function_declarations):
        function = dict(declared)
        if "parametersJsonSchema" in function:
            function["parameters"] = function.pop("parametersJsonSchema")
        found.append({"type": "function", "function": function})
    return tuple(found)


def _read_choice(config: _ToolConfig | None) -> str | dict[str, Any] | None:
    if config is None:
        return None
    calling = config.function_calling_config
    names = calling.allowed_function_names
    if calling.mode not in _CHOICES:
        raise refuse("toolConfig.functionCallingConfig.mode", f"{calling.mode!r} is no known mode")
    if names is not None and len(names) == 1:
        return {"type": "function", "function": {"name": names[0]}}
    return _CHOICES[calling.mode]


def drops(request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
    """Return what of a request this protocol cannot carry."""
    if isinstance(request, EmbedRequest) or request.messages is None:
        return ()
    found = given.missing(
        request, shape.CARRIED | carried(request.extra, "google").keys(), shape.NAME
    )
    found += seals.dropped(request, None)
    effort = request.extra.get("reasoning_effort")
    if effort is not None and effort not in shape.EFFORTS:
        words = f"reasoning_effort {effort!r} is unknown to {shape.NAME}"
        found = (*found, Deviation(given.DROPPED, words))
    if not messages.has_late_system(request.messages):
        return found
    words = f"messages.system stands before all others in {shape.NAME}"
    return (*found, Deviation("param_translated", words))


def read(body: bytes) -> Asked:
    """Decode a request's body. Raises: RequestRefused naming the field."""
    asked = decode_request(_REQUEST, body)
    config = shape.Config() if asked.generation_config is None else asked.generation_config
    system = [] if asked.system_instruction is None else asked.system_instruction.parts
    said = [Message("system", p.text) for p in system if isinstance(p.text, str)]
    extra = {
        name: value
        for name, value in (
            ("safetySettings", asked.safety_settings),
            ("cachedContent", asked.cached_content),
            ("thinkingConfig", config.thinking_config),
        )
        if value is not None
    }
    model = asked.model.removeprefix("models/")
    request = GenerateRequest(
        model=model,
        messages=(*said, *messages.read_contents(asked.contents)),
        sampling=shape.read_sampling(config),
        tools=_read_tools(asked),
        tool_choice=_read_choice(asked.tool_config),
        response_format=shape.read_format(config),
        extra=extra,
    )
    return Asked(model, (request,))


def write(request: GenerateRequest | EmbedRequest) -> dict[str, Any]:  # Any: JSON values
    """Return a request's body. Raises: BackendError for a plain prompt, and for what has no words here."""
    if isinstance(request, EmbedRequest) or request.messages is None:
        raise BackendError("not-supported", f"{shape.NAME} takes messages only")
    body: dict[str, Any] = {"contents": messages.write_contents(request.messages)}
    if (system := messages.write_system(request.messages)) is not None:
        body["systemInstruction"] = system
    if config := shape.write_config(request):
        body["generationConfig"] = config
    known = carried(request.extra, "google")
    body |= {k: v for k, v in known.items() if k not in shape.CONFIGURED}
    return body | _write_tools(request)
