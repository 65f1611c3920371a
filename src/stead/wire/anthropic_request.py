"""Requests of the Anthropic protocol, both directions: answering and counting read the same body.

Knows nothing about answers. Source: the vendor's published API description, `MessageCreateParams`
and `MessageCountTokensParams`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedRequest, GenerateRequest, Message, Sampling
from stead.wire import openai_shape as shape
from stead.wire import seals
from stead.wire.anthropic_messages import (
    Mark,
    Result,
    Text,
    Turn,
    is_object,
    read_turn,
    write_system,
    write_turns,
)
from stead.wire.anthropic_shape import ISSUER, read_choice, read_tool, write_choice, write_tool
from stead.wire.dialect import Asked
from stead.wire.extras import carried, foreign
from stead.wire.given import DROPPED, given

TRANSLATED = "param_translated"
_MAX_TOKENS = 4096  # the field is required there; every model of the vendor can write as much
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_NAME = "output"  # the protocol's schemas have no name, ours need one
_LACKS = foreign(ISSUER) | {
    "min_p", "seed", "frequency_penalty", "presence_penalty", "repeat_penalty", "logprobs",
    "logit_bias", "n", "echo", "messages.name", "messages.detail",
}  # fmt: skip


class _Metadata(Struct, forbid_unknown_fields=True):
    user_id: str | None = None


class _Format(Struct, forbid_unknown_fields=True, rename={"schema_": "schema"}):
    schema_: dict[str, Any]
    type: Literal["json_schema"]


class _Output(Struct, forbid_unknown_fields=True, omit_defaults=True):
    effort: str | None = None
    format: _Format | None = None


class CountBody(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is counted; `strict` is our own field."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    messages: Annotated[list[Turn], Meta(min_length=1, max_length=100_000)]
    system: str | list[Text] | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=512)] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: _Output | None = None
    cache_control: Mark = None
    strict: bool | None = None


class Body(CountBody, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole request."""

    max_tokens: shape.Count
    temperature: shape.Share | None = None
    top_p: shape.Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    stop_sequences: Annotated[list[shape.StopText], Meta(max_length=8192)] | None = None
    stream: bool | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None


def read(body: Body | CountBody) -> Asked:
    """Translate a checked body. Raises: RequestRefused naming the field."""
    extra: dict[str, Any] = {k: v for k in ("thinking",) if (v := getattr(body, k)) is not None}
    form = _read_output(body.output_config, extra)
    choice: str | dict[str, Any] | None = None
    if body.tool_choice is not None:
        choice, parallel = read_choice(body.tool_choice)
        extra |= {} if parallel is None else {"parallel_tool_calls": parallel}
    if choice is not None and choice not in ("auto", "none") and not body.tools:
        raise shape.refuse("tool_choice", "this tool_choice needs tools")
    mark, deviations = _read_marks(body)
    extra |= {} if mark is None else {"cache_control": mark}
    whole = isinstance(body, Body)
    if isinstance(body, Body) and body.service_tier is not None:
        extra["service_tier"] = body.service_tier
    request = GenerateRequest(
        model=body.model,
        messages=(*_read_system(body.system), *_read_turns(body.messages)),
        sampling=_sampling(body) if isinstance(body, Body) else Sampling(),
        tools=tuple(read_tool(t, i) for i, t in enumerate(body.tools or ())),
        tool_choice=choice,
        response_format=form,
        stream=whole and bool(getattr(body, "stream", None)),
        strict=bool(body.strict),
        user=_user(body),
        extra=extra,
    )
    return Asked(
        body.model, (request,), stream=request.stream, include_usage=True, deviations=deviations
    )


def _user(body: Body | CountBody) -> str | None:
    found = body.metadata if isinstance(body, Body) else None
    return None if found is None else found.user_id


def _sampling(body: Body) -> Sampling:
    return Sampling(
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=shape.stops(body.stop_sequences),
    )


def _read_system(system: str | list[Text] | None) -> Iterator[Message]:
    if isinstance(system, str):
        yield Message("system", system)
    elif system:
        yield from read_turn(Turn("system", list(system)), 0)


def _read_turns(turns: list[Turn]) -> Iterator[Message]:
    for i, turn in enumerate(turns):
        yield from read_turn(turn, i)


def _read_output(output: _Output | None, extra: dict[str, Any]) -> dict[str, Any] | None:
    if output is None:
        return None
    if output.effort is not None:
        if output.effort not in _EFFORTS:
            raise shape.refuse("output_config.effort", f"{output.effort!r} is no known effort")
        extra["reasoning_effort"] = output.effort
    if output.format is None:
        return None
    schema = {"name": _NAME, "schema": output.format.schema_}
    return {"type": "json_schema", "json_schema": schema}


def _read_marks(body: CountBody) -> tuple[Mark, tuple[Deviation, ...]]:
    """Return the cache's mark: that of the whole request, or the last of a block's, moved there."""
    if body.cache_control is not None:
        return body.cache_control, ()
    marks = [m for m in _marks(body) if m is not None]
    if not marks:
        return None, ()
    words = "cache_control of blocks is applied to the end of the prompt"
    return marks[-1], (Deviation(TRANSLATED, words),)


def _marks(body: CountBody) -> Iterator[Mark]:
    for tool in body.tools or ():
        yield tool.get("cache_control")
    for text in body.system if isinstance(body.system, list) else ():
        yield text.cache_control
    for turn in body.messages:
        for block in turn.content if isinstance(turn.content, list) else ():
            yield getattr(block, "cache_control", None)
            if isinstance(block, Result) and isinstance(block.content, list):
                yield from (b.cache_control for b in block.content)


def write(request: GenerateRequest | EmbedRequest, path: str, *, counting: bool) -> bytes:
    """Encode a request for an upstream. Raises: BackendError for anything but messages."""
    if isinstance(request, EmbedRequest) or request.messages is None:
        raise BackendError("not-supported", f"{path} takes messages only")
    turns = write_turns(m for m in request.messages if m.role != "system")
    body: dict[str, Any] = {"model": request.model, "messages": turns}
    if (system := write_system(request.messages)) is not None:
        body["system"] = system
    if request.tools:
        body["tools"] = [write_tool(t) for t in request.tools]
    extra = dict(carried(request.extra, ISSUER))
    parallel, effort = extra.pop("parallel_tool_calls", None), extra.pop("reasoning_effort", None)
    choice = write_choice(request.tool_choice, parallel)
    if request.tools and choice is not None:  # without tools the vendor refuses to hear of a choice
        body["tool_choice"] = choice
    output = _Output(effort if effort in _EFFORTS else None, _write_format(request))
    if output != _Output():
        body["output_config"] = output
    if counting:
        extra.pop("service_tier", None)
    else:
        body |= _write_sampling(request.sampling)
        body |= {} if request.user is None else {"metadata": {"user_id": request.user}}
        body |= {"stream": True} if request.stream else {}
    return msgspec.json.encode(body | extra)


def _write_format(request: GenerateRequest) -> _Format | None:
    schema = _schema(request)
    return None if schema is None else _Format(schema, "json_schema")


def _schema(request: GenerateRequest) -> dict[str, Any] | None:
    found = ((request.response_format or {}).get("json_schema") or {}).get("schema")
    return found if isinstance(found, dict) else None


def _write_sampling(sampling: Sampling) -> dict[str, Any]:
    limit = _MAX_TOKENS if sampling.max_tokens is None else sampling.max_tokens
    found: dict[str, Any] = {"max_tokens": limit}
    if sampling.temperature is not None:
        found["temperature"] = min(1.0, sampling.temperature)
    for key in ("top_p", "top_k"):
        if (value := getattr(sampling, key)) is not None:
            found[key] = value
    if stops := [s for s in sampling.stop if not s.isspace()]:
        found["stop_sequences"] = stops
    return found


def drops(request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
    """Return what of a request this protocol does not carry, and what only nearly."""
    if isinstance(request, EmbedRequest):
        return ()
    lost = [f"{name} is unknown to {ISSUER}" for name in given(request) if name in _LACKS]
    lost += [*shape.lost_choice(request, ISSUER), *_lost_values(request)]
    near = _translated(request)
    return (
        *(Deviation(DROPPED, words) for words in lost),
        *seals.dropped(request, ISSUER),
        *(Deviation(TRANSLATED, words) for words in near),
    )


def _lost_values(request: GenerateRequest) -> Iterator[str]:
    form, effort = request.response_format, request.extra.get("reasoning_effort")
    if form is not None and form.get("type") != "text" and _schema(request) is None:
        yield f"response_format {form.get('type')!r} is unknown to {ISSUER}"
    if effort is not None and effort not in _EFFORTS:
        yield f"reasoning_effort {effort!r} is unknown to {ISSUER}"
    if any(s.isspace() for s in request.sampling.stop):
        yield f"stop texts of white space are refused by {ISSUER}"
    if seals.unsealed(request):
        yield f"messages.reasoning without its seal is refused by {ISSUER}"


def _translated(request: GenerateRequest) -> Iterator[str]:
    sampling, messages = request.sampling, request.messages or ()
    if sampling.max_tokens is None:
        yield f"max_tokens is required by {ISSUER}: {_MAX_TOKENS}"
    if sampling.temperature is not None and sampling.temperature > 1:
        yield f"temperature {sampling.temperature} is 1 at most for {ISSUER}"
    first = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    if any(m.role == "system" for m in messages[first:]):
        yield "system messages inside the conversation are moved to its beginning"
    if any(
        c.arguments.strip() and not is_object(c.arguments) for m in messages for c in m.tool_calls
    ):
        yield "arguments of a tool call that are no JSON object are wrapped into one"
