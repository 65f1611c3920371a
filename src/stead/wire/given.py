"""What a request asks for, field by field, and which of it a protocol leaves out.

Knows nothing about protocols: a dialect says which names it carries. A field that was not given, or
has the value that means "nothing special", is never named.
"""

from collections.abc import Collection, Iterator

from stead.core.errors import BackendError
from stead.messages import (
    Deviation,
    EmbedRequest,
    GenerateRequest,
    ImagePart,
    Message,
    Sampling,
    sampled,
)

_LAST = ("stop", "logit_bias")
_SAMPLING = (*(n for n in Sampling.__struct_fields__ if n not in _LAST), *_LAST)
_FIELDS = ("tools", "tool_choice", "response_format", "user", "echo")
_NOTHING: tuple[object, ...] = (None, (), False, "auto", {"type": "text"})
DROPPED = "param_dropped"


def given(request: GenerateRequest | EmbedRequest) -> tuple[str, ...]:
    """Return the names of everything a request asks for beyond its text, in a fixed order.

    Names: the fields of `Sampling` and of the request, the keys of `extra`, `tools.strict`, and `messages.name`,
    `messages.tool_name`, `messages.reasoning`, `messages.image`, `messages.detail`,
    `messages.tool_calls`, `messages.failed`.
    """
    if isinstance(request, EmbedRequest):
        return tuple(n for n in ("dimensions", "user") if getattr(request, n) is not None)
    return (*_sampling(request.sampling), *_request(request), *_messages(request))


def is_plain(request: GenerateRequest) -> bool:
    """Say whether a request asks for nothing but an answer to messages of text, however it is sampled."""
    messages = request.messages
    if messages is None or request.tools or request.extra or request.echo:
        return False
    if any(x is not None for x in (request.tool_choice, request.response_format, request.user)):
        return False
    for message in messages:
        content = message.content
        if type(content) is not str or message != Message(message.role, content):
            return False
    return True


def _sampling(sampling: Sampling) -> list[str]:
    found = sampled(sampling)
    return [name for name in _SAMPLING if name in found] if found else []


def _request(request: GenerateRequest) -> Iterator[str]:
    for name in _FIELDS:
        if getattr(request, name) not in _NOTHING:
            yield name
    if any((t.get("function") or {}).get("strict") for t in request.tools):
        yield "tools.strict"
    yield from request.extra


def _messages(request: GenerateRequest) -> list[str]:
    if request.messages is None:
        return []
    found = {f"messages.{name}" for m in request.messages for name in _message(m)}
    return sorted(found)


def _message(message: Message) -> Iterator[str]:
    if message.name is not None:
        yield "tool_name" if message.role == "tool" else "name"
    if message.reasoning is not None:
        yield "reasoning"
    if message.tool_calls:
        yield "tool_calls"
    if message.failed:
        yield "failed"
    if isinstance(message.content, tuple):
        images = [p for p in message.content if isinstance(p, ImagePart)]
        if images:
            yield "image"
        if any(p.detail is not None for p in images):
            yield "detail"


def missing(
    request: GenerateRequest | EmbedRequest, carried: Collection[str], protocol: str
) -> tuple[Deviation, ...]:
    """Return a deviation for each thing asked for that `carried` does not name."""
    return tuple(
        Deviation(DROPPED, f"{name} is unknown to {protocol}")
        for name in given(request)
        if name not in carried
    )


def refusal(deviation: Deviation) -> BackendError:
    """Return what a strict request gets instead of a deviation; the field is `details["param"]`."""
    return BackendError(
        "not-supported",
        f"{deviation.kind}: {deviation.detail} (strict was asked for)",
        status=400,
        param=deviation.detail.partition(" ")[0],
    )
