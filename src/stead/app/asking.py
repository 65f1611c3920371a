"""What a caller says in Python becomes a request: prompts, sampling options, tags.

Knows nothing about who answers.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from stead.core.errors import ConfigError
from stead.messages import Call, GenerateRequest, Message, Sampling

Prompt = str | Sequence[Message]

_SAMPLING_FIELDS = frozenset(Sampling.__struct_fields__)
_REQUEST_FIELDS = frozenset(
    {"tools", "tool_choice", "response_format", "echo", "user", "extra", "strict"}
)
_KNOWN = _SAMPLING_FIELDS | _REQUEST_FIELDS | {"tags"}


def new_call(tags: Iterable[str] = ()) -> Call:
    """Return the record that travels with a request of this process."""
    return Call(id=uuid.uuid4().hex, tags=frozenset(tags))


def request(
    model: str, prompt: Prompt, system: str | None, fields: dict[str, Any], *, raw: bool
) -> GenerateRequest:
    """Return the request that a prompt and options mean.

    Raises: ConfigError("unknown-option"), ConfigError("raw-chat") for a raw prompt that is no text.
    """
    unknown = sorted(fields.keys() - _KNOWN)
    if unknown:
        known = ", ".join(sorted(_KNOWN))
        raise ConfigError("unknown-option", f"{unknown[0]!r} is no option (known: {known})")
    sampling = Sampling(**{k: _frozen(v) for k, v in fields.items() if k in _SAMPLING_FIELDS})
    rest = {k: _frozen(v) for k, v in fields.items() if k in _REQUEST_FIELDS}
    call = new_call(fields.get("tags", ()))
    if raw:
        if not isinstance(prompt, str) or system is not None:
            raise ConfigError("raw-chat", "a raw prompt is one text, without a system message")
        return GenerateRequest(model=model, prompt=prompt, sampling=sampling, call=call, **rest)
    messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    if system is not None:
        messages = (Message("system", system), *messages)
    return GenerateRequest(model=model, messages=messages, sampling=sampling, call=call, **rest)


def _frozen(value: Any) -> Any:  # Any: option values; lists become the tuples of our structs
    return tuple(value) if isinstance(value, list) else value
