"""The counting route of Google's Gemini protocol, `:countTokens`.

Knows nothing about engines. The whole request is counted: system, tools and conversation. Source: the
Gemini API reference (ai.google.dev/api/tokens).
"""

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedRequest, GenerateRequest, Sampling
from stead.wire import google_request as requests
from stead.wire import google_shape as shape
from stead.wire.dialect import Asked, CountDialect, decode_answer
from stead.wire.openai_errors import raise_if_answer_is_error
from stead.wire.openai_shape import decode_request


class _Request(Struct, rename="camel"):
    generate_content_request: msgspec.Raw


class _Count(Struct, rename="camel"):
    total_tokens: int


_REQUEST = msgspec.json.Decoder(_Request)
_COUNT = msgspec.json.Decoder(_Count)


class GoogleCount(shape.GoogleRoute, CountDialect):
    """How many tokens a request is, for the client side; both directions are here."""

    kind = "count"
    path = f"{shape.ROOT}/models/count"

    def target(self, request: GenerateRequest | EmbedRequest) -> str:
        """Return the path of the model's method."""
        return shape.target(request.model, "countTokens")

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry."""
        return requests.drops(request)

    def read_request(self, body: bytes) -> Asked:
        """Decode a request's body. Raises: RequestRefused naming the field."""
        return requests.read(bytes(decode_request(_REQUEST, body).generate_content_request))

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream; how to choose tokens does not count."""
        if isinstance(request, GenerateRequest):
            request = replace(request, sampling=Sampling())
        inner: dict[str, Any] = {"model": f"models/{request.model.removeprefix('models/')}"}
        return msgspec.json.encode({"generateContentRequest": inner | requests.write(request)})

    def write_count(self, tokens: int) -> bytes:
        """Encode the count."""
        return msgspec.json.encode(_Count(tokens))

    def read_count(self, body: bytes) -> int:
        """Decode the count. Raises: BackendError("bad-answer")."""
        raise_if_answer_is_error(body)
        count = decode_answer(_COUNT, body).total_tokens
        if count < 0:
            raise BackendError("bad-answer", f"the endpoint counted {count} tokens")
        return count
