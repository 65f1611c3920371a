"""A hook that takes API keys and other secrets out of prompts before they leave.

Knows nothing about models; what a secret looks like is `core/secret`.
"""

from msgspec.structs import replace

from stead.core.secret import redact
from stead.inference.hooks import Hook
from stead.messages import EmbedRequest, GenerateRequest, Message, Part, TextPart


class Redact(Hook):
    """Replaces every known shape of a secret in prompts by `***`."""

    version = "1"

    async def before(self, request: GenerateRequest) -> GenerateRequest:
        """Return the request without secrets."""
        if request.messages is not None:
            return replace(request, messages=tuple(_message(m) for m in request.messages))
        if isinstance(request.prompt, str):
            return replace(request, prompt=redact(request.prompt))
        return request

    async def before_embed(self, request: EmbedRequest) -> EmbedRequest:
        """Return the texts without secrets."""
        cleaned = tuple(redact(t) if isinstance(t, str) else t for t in request.input)
        return replace(request, input=cleaned)


def _message(message: Message) -> Message:
    if isinstance(message.content, str):
        return replace(message, content=redact(message.content))
    if message.content is None:
        return message
    return replace(message, content=tuple(_part(p) for p in message.content))


def _part(part: Part) -> Part:
    return TextPart(redact(part.text)) if isinstance(part, TextPart) else part
