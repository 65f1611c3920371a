"""The embedding route of Google's Gemini protocol, `:batchEmbedContents`.

Knows nothing about engines. Source: the Gemini API reference (ai.google.dev/api/embeddings).
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedReply, EmbedRequest, GenerateRequest, Usage
from stead.wire import given
from stead.wire import google_messages as messages
from stead.wire import google_shape as shape
from stead.wire.dialect import Asked, EmbedDialect, decode_answer
from stead.wire.openai_errors import raise_if_answer_is_error
from stead.wire.openai_shape import decode_request, refuse


class _One(Struct, rename="camel"):
    model: str
    content: messages.ContentShape
    output_dimensionality: int | UnsetType | None = UNSET


class _Request(Struct, forbid_unknown_fields=True):
    requests: Annotated[list[_One], Meta(min_length=1, max_length=2048)]


class _Vector(Struct):
    values: list[float]


class _Answer(Struct, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: shape.UsageShape | UnsetType = UNSET


_REQUEST = msgspec.json.Decoder(_Request)
_ANSWER = msgspec.json.Decoder(_Answer)


class GoogleEmbed(shape.GoogleRoute, EmbedDialect):
    """Vectors of many texts at once, for the client side; both directions are here."""

    kind = "embedding"
    path = f"{shape.ROOT}/models/embedding"

    def target(self, request: GenerateRequest | EmbedRequest) -> str:
        """Return the path of the model's method."""
        return shape.target(request.model, "batchEmbedContents")

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry."""
        return given.missing(request, {"dimensions"}, shape.NAME)

    def read_request(self, body: bytes) -> Asked:
        """Decode a request's body. Raises: RequestRefused naming the field."""
        asked = decode_request(_REQUEST, body).requests
        texts = []
        for i, one in enumerate(asked):
            found = [p.text for p in one.content.parts if isinstance(p.text, str)]
            if len(found) != 1:
                raise refuse(f"requests[{i}].content.parts", "one part of text is expected")
            texts.append(found[0])
        model = asked[0].model.removeprefix("models/")
        size = asked[0].output_dimensionality
        request = EmbedRequest(
            model=model, input=tuple(texts), dimensions=size if isinstance(size, int) else None
        )
        return Asked(model, embed=request)

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream. Raises: BackendError for token ids."""
        if isinstance(request, GenerateRequest):
            raise BackendError("not-supported", f"{self.path} makes vectors only")
        name = request.model.removeprefix("models/")
        size: dict[str, Any] = {}
        if request.dimensions is not None:
            size["outputDimensionality"] = request.dimensions
        rows = []
        for text in request.input:
            if not isinstance(text, str):
                raise BackendError("not-supported", f"{shape.NAME} makes vectors of texts only")
            content = {"parts": [{"text": text}]}
            rows.append({"model": f"models/{name}", "content": content} | size)
        return msgspec.json.encode({"requests": rows})

    def write_vectors(self, reply: EmbedReply, asked: Asked) -> bytes:
        """Encode vectors."""
        rows = [_Vector(list(v)) for v in reply.vectors]
        return msgspec.json.encode(_Answer(rows, shape.write_usage(reply.usage)))

    def read_vectors(self, body: bytes) -> EmbedReply:
        """Decode vectors; the protocol does not say whose. Raises: BackendError("bad-answer")."""
        raise_if_answer_is_error(body)
        found = decode_answer(_ANSWER, body)
        usage = shape.read_usage(found.usage_metadata)
        return EmbedReply(
            model="",
            vectors=tuple(tuple(v.values) for v in found.embeddings),
            usage=Usage() if usage is None else usage,
        )
