"""The responses route of the OpenAI protocol, `/v1/responses`; nothing is kept between requests.

Knows nothing about vendors or engines. Source: the published OpenAPI description of the OpenAI API,
schemas CreateResponse, Response and ResponseStreamEvent.
"""

import msgspec

from stead.messages import Deviation, EmbedRequest, GenerateRequest, Reply
from stead.wire import openai_errors as errors
from stead.wire import responses_request as request_codec
from stead.wire import responses_shape as answer
from stead.wire.dialect import Asked, GenerateDialect, StreamReader, StreamWriter, decode_answer
from stead.wire.openai_shape import decode_request
from stead.wire.responses_stream import Reader, Writer

_REQUEST = msgspec.json.Decoder(request_codec.Body)
_RESPONSE = msgspec.json.Decoder(answer.ResponseRead)


class OpenAIResponses(errors.OpenAIErrors, GenerateDialect):
    """Responses."""

    kind = "chat"
    path = "/v1/responses"

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol does not carry."""
        return request_codec.drops(request)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        return request_codec.read(decode_request(_REQUEST, body))

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream."""
        return request_codec.write(request, self.path)

    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer: its first choice, since there is but one."""
        finish = reply.choices[0].finish_reason
        status = answer.status_word(finish)
        head = answer.Head(asked.generate[0], reply.id, reply.model, reply.created)
        error = answer.failure() if status == "failed" else None
        output = answer.write_output(reply)
        return msgspec.json.encode(
            head.write(status, output, usage=reply.usage, finish=finish, error=error)
        )

    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer. Raises: BackendError("bad-answer")."""
        return answer.read_reply(decode_answer(_RESPONSE, body))

    def stream_writer(self, asked: Asked) -> StreamWriter:
        """Return a writer for one streamed answer."""
        return Writer(asked.generate[0])

    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""
        return Reader()
