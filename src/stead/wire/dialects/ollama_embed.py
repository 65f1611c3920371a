"""The embedding route of Ollama's protocol, `/api/embed`.

Knows nothing about engines. Source: Ollama's OpenAPI description (docs.ollama.com/openapi.yaml),
schemas EmbedRequest and EmbedResponse.
"""

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedReply, EmbedRequest, GenerateRequest, Usage
from stead.wire import given
from stead.wire import ollama_request as requests
from stead.wire import ollama_shape as shape
from stead.wire.dialect import Asked, EmbedDialect, decode_answer
from stead.wire.openai_errors import raise_if_answer_is_error
from stead.wire.openai_shape import decode_request, refuse


class _Request(Struct, forbid_unknown_fields=True):
    model: shape.Model
    input: str | Annotated[list[str], Meta(min_length=1, max_length=2048)]
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    truncate: bool | None = None
    keep_alive: float | str | None = None
    options: requests.Options | None = None


class _Answer(Struct):
    embeddings: list[list[float]]
    model: str = ""
    prompt_eval_count: int = 0
    total_duration: int = 0
    load_duration: int = 0


_REQUEST = msgspec.json.Decoder(_Request)
_ANSWER = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()


class OllamaEmbed(shape.OllamaErrors, EmbedDialect):
    """Vectors of one text or of many; the vendor calls them embeddings."""

    kind = "embedding"
    path = "/api/embed"

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry."""
        return given.missing(request, {"dimensions"}, shape.NAME)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        asked = decode_request(_REQUEST, body)
        texts = (asked.input,) if isinstance(asked.input, str) else tuple(asked.input)
        if not all(texts):
            raise refuse("input", "an input is empty")
        request = EmbedRequest(model=asked.model, input=texts, dimensions=asked.dimensions)
        untaken = requests.untaken(
            truncate=None if asked.truncate else asked.truncate,  # true is what is done anyway
            keep_alive=asked.keep_alive,
            options=asked.options,
        )
        return Asked(asked.model, embed=request, begun_ns=time.monotonic_ns(), deviations=untaken)

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream. Raises: BackendError for token ids."""
        if isinstance(request, GenerateRequest) or not all(
            isinstance(text, str) for text in request.input
        ):
            raise BackendError("not-supported", f"{self.path} makes vectors of texts only")
        body: dict[str, Any] = {"model": request.model, "input": request.input}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return _ENCODER.encode(body)

    def write_vectors(self, reply: EmbedReply, asked: Asked) -> bytes:
        """Encode vectors."""
        took_ns = time.monotonic_ns() - asked.begun_ns if asked.begun_ns else 0
        rows = [list(v) for v in reply.vectors]
        return _ENCODER.encode(_Answer(rows, reply.model, reply.usage.prompt_tokens, took_ns))

    def read_vectors(self, body: bytes) -> EmbedReply:
        """Decode vectors. Raises: BackendError("bad-answer")."""
        raise_if_answer_is_error(body)
        found = decode_answer(_ANSWER, body)
        vectors = tuple(tuple(v) for v in found.embeddings)
        usage = Usage(max(0, found.prompt_eval_count))
        return EmbedReply(model=found.model, vectors=vectors, usage=usage)
