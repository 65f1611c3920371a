"""What a caller says in Python becomes a request: prompts, sampling options, tags; checked here, not far below.

Knows nothing about who answers.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from stead.core.errors import ConfigError
from stead.messages import Call, GenerateRequest, Message, Sampling
from stead.wire.openai_messages import MessageIn, read_message

Said = Message | dict[str, Any]  # Any: a message as OpenAI's protocol writes it
Prompt = str | Sequence[Said]
_NotNegative = Annotated[int, Meta(ge=0)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class _Options(Struct, kw_only=True, forbid_unknown_fields=True):
    """Every option, with the values that mean something; no vendor's own limits."""

    max_tokens: _NotNegative | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: _Share | None = None
    top_k: _NotNegative | None = None
    min_p: _Share | None = None
    seed: int | None = None
    stop: str | list[str] = []
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_penalty: Annotated[float, Meta(ge=0)] | None = None
    logprobs: _NotNegative | None = None
    logit_bias: dict[str | int, float] = {}
    n: Annotated[int, Meta(ge=1)] = 1
    tools: list[dict[str, Any]] = []  # Any: JSON schemas
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    echo: bool = False
    user: str | None = None
    extra: dict[str, Any] = {}
    strict: bool = False


_KNOWN = frozenset(_Options.__struct_fields__) | {"tags"}
_SAMPLING_FIELDS = frozenset(Sampling.__struct_fields__)


def new_call(tags: Iterable[str] = ()) -> Call:
    """Return the record that travels with a request of this process; one tag may be a plain text."""
    found = (tags,) if isinstance(tags, str) else tags
    return Call(id=uuid.uuid4().hex, tags=frozenset(found))


def request(
    model: str, prompt: Prompt, system: str | None, fields: dict[str, Any], *, raw: bool
) -> GenerateRequest:
    """Return the request that a prompt and options mean.

    Raises: ConfigError("unknown-option", "bad-option"), ConfigError("raw-chat") for a raw prompt that is no
    text, ConfigError("bad-prompt"); RequestRefused for a message that lacks what its role needs.
    """
    given = _checked(fields)
    sampling = Sampling(**{k: v for k, v in given.items() if k in _SAMPLING_FIELDS})
    rest = {k: v for k, v in given.items() if k not in _SAMPLING_FIELDS}
    call = new_call(fields.get("tags", ()))
    if raw:
        if not isinstance(prompt, str) or system is not None:
            raise ConfigError("raw-chat", "a raw prompt is one text, without a system message")
        return GenerateRequest(model=model, prompt=prompt, sampling=sampling, call=call, **rest)
    messages = _messages(prompt)
    if system is not None:
        messages = (Message("system", system), *messages)
    return GenerateRequest(model=model, messages=messages, sampling=sampling, call=call, **rest)


def texts_of(texts: str | Sequence[str]) -> tuple[str, ...]:
    """Return the texts to embed; a plain text is one."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def prompts_of(prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """Return the prompts of a batch. Raises: ConfigError("bad-prompt") for a plain text, which is none."""
    if isinstance(prompts, str):
        raise ConfigError("bad-prompt", "a batch is a list of prompts, not one text")
    return prompts


def _checked(fields: dict[str, Any]) -> dict[str, Any]:  # Any: option values
    unknown = sorted(fields.keys() - _KNOWN)
    if unknown:
        known = ", ".join(sorted(_KNOWN))
        raise ConfigError("unknown-option", f"{unknown[0]!r} is no option (known: {known})")
    given = {k: v for k, v in fields.items() if k != "tags"}
    try:
        msgspec.convert(given, _Options)
    except msgspec.ValidationError as error:
        raise ConfigError("bad-option", _told(error)) from error
    if isinstance(given.get("stop"), str):
        given["stop"] = (given["stop"],)
    if "logit_bias" in given:
        given["logit_bias"] = {str(token): bias for token, bias in given["logit_bias"].items()}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    found: list[Said] = list(prompt) if isinstance(prompt, list | tuple) else []
    if not found:
        raise ConfigError("bad-prompt", "a prompt is a text or messages, and there are none")
    return tuple(_message(one, i) for i, one in enumerate(found))


def _message(said: Said, index: int) -> Message:
    if isinstance(said, Message):
        return said
    try:
        return read_message(msgspec.convert(said, MessageIn), index)
    except msgspec.ValidationError as error:
        raise ConfigError("bad-prompt", f"messages[{index}]: {_told(error)}") from error


def _told(error: msgspec.ValidationError) -> str:
    words, _, path = str(error).partition(" - at `$.")
    return f"{path.rstrip('`')}: {words}" if path else words
