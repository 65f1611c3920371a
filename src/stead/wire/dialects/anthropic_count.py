"""The counting route of the Anthropic protocol, `/v1/messages/count_tokens`.

Knows nothing about who counts. Source: the vendor's published API description, count tokens.
"""

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedRequest, GenerateRequest
from stead.wire import anthropic_request as request_codec
from stead.wire import anthropic_shape as shape
from stead.wire import openai_errors
from stead.wire.dialect import Asked, CountDialect, decode_answer
from stead.wire.openai_shape import decode_request


class _Count(Struct):
    input_tokens: int


_REQUEST = msgspec.json.Decoder(request_codec.CountBody)
_COUNT = msgspec.json.Decoder(_Count)


class AnthropicCount(shape.Errors, CountDialect):
    """How many tokens a request's messages, system and tools are."""

    kind = "count"
    path = "/v1/messages/count_tokens"

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol does not carry."""
        return request_codec.drops(request)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        return request_codec.read(decode_request(_REQUEST, body))

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream."""
        return request_codec.write(request, self.path, counting=True)

    def write_count(self, tokens: int) -> bytes:
        """Encode the count."""
        return msgspec.json.encode(_Count(tokens))

    def read_count(self, body: bytes) -> int:
        """Decode the count. Raises: BackendError("bad-answer")."""
        openai_errors.raise_if_answer_is_error(body)
        count = decode_answer(_COUNT, body).input_tokens
        if count < 0:
            raise BackendError("bad-answer", f"the endpoint counted {count} tokens")
        return count
