"""The old embedding route of Ollama's protocol, `/api/embeddings`: one text, one vector.

Knows nothing about engines. Source: Ollama's docs/api.md, "Generate Embedding" (superseded by
`/api/embed`; older clients still ask here).
"""

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError
from stead.messages import Deviation, EmbedReply, EmbedRequest, GenerateRequest
from stead.wire import given
from stead.wire import ollama_request as requests
from stead.wire import ollama_shape as shape
from stead.wire.dialect import Asked, EmbedDialect, decode_answer
from stead.wire.openai_errors import raise_if_answer_is_error
from stead.wire.openai_shape import decode_request, refuse


class _Request(Struct, forbid_unknown_fields=True):
    model: shape.Model
    prompt: str
    keep_alive: float | str | None = None
    options: requests.Options | None = None


class _Answer(Struct):
    embedding: list[float]


_REQUEST = msgspec.json.Decoder(_Request)
_ANSWER = msgspec.json.Decoder(_Answer)


class OllamaEmbeddings(shape.OllamaErrors, EmbedDialect):
    """The vector of one text."""

    kind = "embedding"
    path = "/api/embeddings"

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry."""
        return given.missing(request, (), shape.NAME)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        asked = decode_request(_REQUEST, body)
        if not asked.prompt:
            raise refuse("prompt", "the prompt is empty")
        request = EmbedRequest(model=asked.model, input=(asked.prompt,))
        untaken = requests.untaken(keep_alive=asked.keep_alive, options=asked.options)
        return Asked(asked.model, embed=request, deviations=untaken)

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream. Raises: BackendError unless it is one text."""
        if isinstance(request, GenerateRequest) or len(request.input) != 1:
            raise BackendError("not-supported", f"{self.path} makes the vector of one text only")
        return msgspec.json.encode({"model": request.model, "prompt": request.input[0]})

    def write_vectors(self, reply: EmbedReply, asked: Asked) -> bytes:
        """Encode the vector."""
        return msgspec.json.encode(_Answer(list(reply.vectors[0])))

    def read_vectors(self, body: bytes) -> EmbedReply:
        """Decode the vector; this route tells neither model nor usage. Raises: BackendError("bad-answer")."""
        raise_if_answer_is_error(body)
        found = decode_answer(_ANSWER, body)
        return EmbedReply(model="", vectors=(tuple(found.embedding),))
