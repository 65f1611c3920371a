"""Requests of the OpenAI Responses protocol, both directions.

Knows nothing about answers. Nothing is kept between requests: what needs that is refused. Source: the
published OpenAPI description of the OpenAI API, schema CreateResponse.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedRequest, GenerateRequest, Message, Sampling
from stead.wire import openai_shape as shape
from stead.wire import seals
from stead.wire.dialect import Asked
from stead.wire.extras import carried, foreign
from stead.wire.given import DROPPED, given
from stead.wire.responses_items import ISSUER, read_items, write_items
from stead.wire.responses_shape import write_choice, write_format, write_tool

PROTOCOL = "openai_responses"
_LACKS = foreign(PROTOCOL) | {
    "top_k", "min_p", "seed", "stop", "frequency_penalty", "presence_penalty", "repeat_penalty",
    "logit_bias", "n", "echo", "messages.name",
}  # fmt: skip
_STATEFUL = ("previous_response_id", "conversation", "prompt", "background")
_LOGPROBS, _SEALS = "message.output_text.logprobs", "reasoning.encrypted_content"
_PASSED = (
    "parallel_tool_calls", "metadata", "service_tier", "safety_identifier", "prompt_cache_key",
    "truncation", "max_tool_calls",
)  # fmt: skip


class _Text(Struct, forbid_unknown_fields=True):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _Reasoning(Struct, forbid_unknown_fields=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None  # the older word for `summary`


class _StreamOptions(Struct, forbid_unknown_fields=True):
    include_obfuscation: bool | None = None


class Body(Struct, kw_only=True, forbid_unknown_fields=True):
    """A whole request; `strict` is our own field."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: shape.Count | None = None
    temperature: shape.Temperature | None = None
    top_p: shape.Share | None = None
    top_logprobs: shape.Alternatives | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    user: str | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    background: bool | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: shape.Count | None = None
    strict: bool | None = None


class _Tool(Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    type: Literal["function"]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


def read(body: Body) -> Asked:
    """Translate a checked body. Raises: RequestRefused naming the field."""
    for name in _STATEFUL:
        if getattr(body, name):
            raise shape.refuse(
                name, f"{name} needs answers to be kept, which this server does not do",
                "unsupported-parameter",
            )  # fmt: skip
    _check_include(body)
    extra = {k: v for k in _PASSED if (v := getattr(body, k)) is not None}
    _read_reasoning(body, extra)
    tools = tuple(_read_tool(t, i) for i, t in enumerate(body.tools or ()))
    request = GenerateRequest(
        model=body.model,
        messages=tuple(_messages(body)),
        sampling=_read_sampling(body),
        tools=tools,
        tool_choice=_read_choice(body.tool_choice, known=bool(tools)),
        response_format=_read_format(body.text),
        stream=bool(body.stream),
        strict=bool(body.strict),
        user=body.user,
        extra=extra,
    )
    if not request.messages:
        raise shape.refuse("input", "the input is empty")
    kept = Deviation(DROPPED, "store: answers are not kept here")
    deviations = (kept,) if body.store else ()
    return Asked(body.model, (request,), stream=request.stream, deviations=deviations)


def _messages(body: Body) -> Iterator[Message]:
    if body.instructions is not None:
        yield Message("system", body.instructions)
    if isinstance(body.input, str):
        yield Message("user", body.input)
    else:
        yield from read_items(body.input)


def _read_sampling(body: Body) -> Sampling:
    logprobs = body.top_logprobs
    if logprobs is None and _LOGPROBS in (body.include or ()):
        logprobs = 0
    return Sampling(
        max_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        logprobs=logprobs,
    )


def _check_include(body: Body) -> None:
    for i, name in enumerate(body.include or ()):
        if name not in {_LOGPROBS, _SEALS}:
            raise shape.refuse(f"include[{i}]", f"{name!r} cannot be included here")


def _read_reasoning(body: Body, extra: dict[str, Any]) -> None:
    if body.text is not None and body.text.verbosity is not None:
        extra["verbosity"] = body.text.verbosity
    if (asked := body.reasoning) is None:
        return
    summary = asked.generate_summary if asked.summary is None else asked.summary
    for key, value in (("reasoning_effort", asked.effort), ("reasoning_summary", summary)):
        if value is not None:
            extra[key] = value


def _read_tool(tool: dict[str, Any], index: int) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise shape.refuse(
            f"tools[{index}].type", f"{tool.get('type')!r} is not known; 'function' is"
        )
    found = shape.convert(tool, _Tool, f"tools[{index}]")
    keys = ("name", "description", "parameters", "strict")
    function = {k: v for k in keys if (v := getattr(found, k)) is not None}
    return {"type": "function", "function": function}


def _read_choice(
    choice: str | dict[str, Any] | None, *, known: bool
) -> str | dict[str, Any] | None:
    if isinstance(choice, dict):
        name = choice.get("name")
        if choice.get("type") != "function" or not isinstance(name, str):
            raise shape.refuse("tool_choice.type", "only a function can be chosen by name")
        choice = {"type": "function", "function": {"name": name}}
    elif choice is not None and choice not in {"none", "auto", "required"}:
        raise shape.refuse("tool_choice", f"{choice!r} is not 'none', 'auto' or 'required'")
    if (choice == "required" or isinstance(choice, dict)) and not known:
        raise shape.refuse("tool_choice", "tool_choice needs tools")
    return choice


def _read_format(text: _Text | None) -> dict[str, Any] | None:
    form = None if text is None else text.format
    if form is None:
        return None
    kind = form.get("type")  # of any JSON type, so compared and not looked up
    if kind in ("text", "json_object") and len(form) == 1:
        return form
    if kind != "json_schema":
        raise shape.refuse("text.format.type", f"{kind!r} is not a known format")
    for key, type_ in (("name", str), ("schema", dict)):
        if not isinstance(form.get(key), type_):
            raise shape.refuse(f"text.format.{key}", f"a format of type 'json_schema' has {key}")
    schema = {k: v for k, v in form.items() if k != "type"}
    return {"type": "json_schema", "json_schema": schema}


def write(request: GenerateRequest | EmbedRequest, path: str) -> bytes:
    """Encode a request for an upstream. Raises: BackendError for anything but messages.

    Nothing is kept there, so that reasoning comes back sealed.
    """
    if isinstance(request, EmbedRequest) or request.messages is None:
        raise BackendError("not-supported", f"{path} takes messages only")
    first, *rest = request.messages
    told = first.role == "system" and isinstance(first.content, str) and bool(rest)
    extra = dict(carried(request.extra, PROTOCOL))
    body: dict[str, Any] = {
        "model": request.model,
        "input": list(write_items(rest if told else request.messages)),
        "store": extra.pop("store", False),
        "include": [_SEALS],
    }
    if told:
        body["instructions"] = first.content
    body |= _write_sampling(request.sampling)
    if request.sampling.logprobs is not None:
        body["include"] = [_SEALS, _LOGPROBS]
    body |= _write_choices(request, extra)
    if request.user is not None:
        body["user"] = request.user
    if request.stream:
        body["stream"] = True
    return msgspec.json.encode(body | extra)


def _write_choices(request: GenerateRequest, extra: dict[str, Any]) -> dict[str, Any]:
    """Return reasoning, form and tools; what of them is in `extra` is taken out of it."""
    found: dict[str, Any] = {}
    effort, summary = extra.pop("reasoning_effort", None), extra.pop("reasoning_summary", None)
    if effort is not None or summary is not None:
        found["reasoning"] = {"effort": effort, "summary": summary}
    if text := _write_text(request, extra.pop("verbosity", None)):
        found["text"] = text
    if request.tools:
        found["tools"] = [write_tool(t) for t in request.tools]
    if (choice := write_choice(request.tool_choice)) is not None:
        found["tool_choice"] = choice
    return found


def _write_text(request: GenerateRequest, verbosity: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if verbosity is None else {"verbosity": verbosity}
    if request.response_format is not None:
        found["format"] = write_format(request.response_format)
    return found


def _write_sampling(sampling: Sampling) -> dict[str, Any]:
    names = {
        "max_output_tokens": sampling.max_tokens, "temperature": sampling.temperature,
        "top_p": sampling.top_p, "top_logprobs": sampling.logprobs,
    }  # fmt: skip
    return {k: v for k, v in names.items() if v is not None}


def drops(request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
    """Return what of a request this protocol does not carry."""
    if isinstance(request, EmbedRequest):
        return ()
    lost = [f"{name} is unknown to {PROTOCOL}" for name in given(request) if name in _LACKS]
    lost += shape.lost_choice(request, PROTOCOL)
    if seals.unsealed(request):
        lost.append(f"messages.reasoning without its seal is refused by {PROTOCOL}")
    if any(m.failed for m in request.messages or ()):
        lost.append(f"messages.failed is unknown to {PROTOCOL}")
    return (*(Deviation(DROPPED, words) for words in lost), *seals.dropped(request, ISSUER))
