"""The embedding route of the OpenAI protocol, `/v1/embeddings`.

Knows nothing about vendors or engines. Source: the published OpenAPI description of the OpenAI API,
schemas CreateEmbeddingRequest and CreateEmbeddingResponse.
"""

import base64
import struct
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from stead.core.errors import BackendError
from stead.messages import EmbedReply, EmbedRequest, GenerateRequest, Usage
from stead.wire import openai_errors as errors
from stead.wire import openai_shape as shape
from stead.wire.dialect import Asked, EmbedDialect, decode_answer

_Ids = Annotated[list[shape.TokenId], Meta(min_length=1)]


class _Request(Struct, forbid_unknown_fields=True):
    model: Annotated[str, Meta(min_length=1, max_length=512)]
    input: str | Annotated[list[str | int | _Ids], Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    user: str | None = None
    strict: bool | None = None  # our own field


class _Vector(Struct):
    embedding: list[float] | str
    index: int
    object: str = "embedding"


class _Usage(Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _Reply(Struct):
    data: list[_Vector]
    model: str = ""
    object: str = "list"
    usage: _Usage | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_REPLY = msgspec.json.Decoder(_Reply)
_ENCODER = msgspec.json.Encoder()


class OpenAIEmbeddings(errors.OpenAIErrors, EmbedDialect):
    """Embeddings, as numbers or as base64 of little-endian float32."""

    kind = "embedding"
    path = "/v1/embeddings"

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        asked = shape.decode_request(_REQUEST, body)
        inputs = tuple(shape.texts("input", asked.input))
        if any(len(i) == 0 for i in inputs):
            raise shape.refuse("input", "an input is empty")
        request = EmbedRequest(
            model=asked.model,
            input=inputs,
            dimensions=asked.dimensions,
            user=asked.user,
            strict=bool(asked.strict),
        )
        encoding = "float" if asked.encoding_format is None else asked.encoding_format
        return Asked(asked.model, embed=request, encoding=encoding)

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream."""
        if isinstance(request, GenerateRequest):
            raise BackendError("not-supported", f"{self.path} makes vectors only")
        body: dict[str, Any] = {"model": request.model, "input": request.input}
        for key in ("dimensions", "user"):
            if (value := getattr(request, key)) is not None:
                body[key] = value
        return _ENCODER.encode(body | {"encoding_format": "float"})

    def write_vectors(self, reply: EmbedReply, asked: Asked) -> bytes:
        """Encode vectors."""
        coded = asked.encoding == "base64"
        data = [_Vector(_pack(v) if coded else list(v), i) for i, v in enumerate(reply.vectors)]
        tokens = reply.usage.prompt_tokens
        return _ENCODER.encode(_Reply(data, reply.model, usage=_Usage(tokens, tokens)))

    def read_vectors(self, body: bytes) -> EmbedReply:
        """Decode vectors. Raises: BackendError("bad-answer")."""
        errors.raise_if_answer_is_error(body)
        found = decode_answer(_REPLY, body)
        rows = sorted(found.data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(len(rows))):
            raise BackendError("bad-answer", "the endpoint sent vectors out of order or twice")
        vectors = tuple(tuple(_unpack(r.embedding)) for r in rows)
        usage = Usage() if found.usage is None else Usage(max(0, found.usage.prompt_tokens))
        return EmbedReply(model=found.model, vectors=vectors, usage=usage)


def _pack(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _unpack(value: list[float] | str) -> list[float]:
    if isinstance(value, list):
        return value
    try:
        raw = base64.b64decode(value, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (ValueError, struct.error) as error:
        raise BackendError("bad-answer", f"a vector cannot be decoded: {error}") from error
