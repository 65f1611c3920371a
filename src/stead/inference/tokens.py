"""How many tokens a text roughly has, where nobody has counted them: four bytes of UTF-8 each.

Knows nothing about tokenizers; a count from here is always marked as estimated. Source of the rule: the
vendors' own help pages ("one token is about 4 characters of English").
"""

import msgspec

from stead.messages import EmbedRequest, GenerateRequest, ImagePart, Message

_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 4  # role and separators, as the vendors' examples of counting have it
_PER_IMAGE = 256  # between the price of a small picture and of one large tile


def size_bytes(text: str) -> int:
    """Return the bytes of a text, which add up where token counts do not."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def bytes_tokens(count_bytes: int) -> int:
    """Estimate the tokens of so many bytes of text; 0 has none."""
    return -(-count_bytes // _BYTES_PER_TOKEN)


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text; "" has none."""
    return bytes_tokens(size_bytes(text))


def prompt_tokens(request: GenerateRequest | EmbedRequest) -> int:
    """Estimate what a request sends; token ids are counted exactly."""
    if isinstance(request, EmbedRequest):
        return sum(text_tokens(t) if isinstance(t, str) else len(t) for t in request.input)
    tools = text_tokens(msgspec.json.encode(request.tools).decode()) if request.tools else 0
    if request.messages is None:
        prompt = request.prompt
        return text_tokens(prompt) if isinstance(prompt, str) else len(prompt or ())
    return tools + sum(_message(m) for m in request.messages)


def _message(message: Message) -> int:
    calls = sum(text_tokens(c.name) + text_tokens(c.arguments) for c in message.tool_calls)
    parts = message.content if isinstance(message.content, tuple) else ()
    images = sum(_PER_IMAGE for p in parts if isinstance(p, ImagePart))
    return _PER_MESSAGE + text_tokens(message.text) + calls + images
