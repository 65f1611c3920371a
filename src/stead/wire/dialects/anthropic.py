"""The messages route of the Anthropic protocol, `/v1/messages`.

Knows nothing about vendors or engines. Source: the vendor's published API description, Messages API.
"""

from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stead.core.errors import BackendError
from stead.messages import (
    Choice,
    Deviation,
    EmbedRequest,
    GenerateRequest,
    Message,
    Reply,
    Usage,
)
from stead.wire import anthropic_request as request_codec
from stead.wire import anthropic_shape as shape
from stead.wire import openai_errors
from stead.wire.anthropic_messages import Block, Loose, left_out, read_answer, write_answer
from stead.wire.anthropic_stream import Reader, Writer
from stead.wire.dialect import (
    Asked,
    GenerateDialect,
    RequestRefused,
    StreamReader,
    StreamWriter,
    decode_answer,
)
from stead.wire.openai_shape import decode_request

_REQUEST = msgspec.json.Decoder(request_codec.Body)
_ENCODER = msgspec.json.Encoder()


class _Written(Struct):
    id: str
    content: list[Block] | str
    model: str
    stop_reason: str
    stop_sequence: str | None
    usage: shape.UsageShape
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    stop_details: None = None  # the vendor's own classifiers


class _Read(Struct):
    content: list[Loose]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: shape.UsageShape | None = None


_READ = msgspec.json.Decoder(_Read)


class Anthropic(shape.Errors, GenerateDialect):
    """Messages."""

    kind = "chat"
    path = "/v1/messages"

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol does not carry, and what only nearly."""
        return request_codec.drops(request)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        return request_codec.read(decode_request(_REQUEST, body))

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream."""
        return request_codec.write(request, self.path, counting=False)

    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer: its first choice, since there is but one."""
        choice = reply.choices[0]
        content = write_answer(choice.message, choice.message.thoughts, open_reasoning=True)
        reason = shape.write_finish(choice.finish_reason, choice.stop_text)
        usage = shape.write_usage(reply.usage)
        return _ENCODER.encode(
            _Written(reply.id, content, reply.model, reason, choice.stop_text, usage)
        )

    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer. Raises: BackendError("bad-answer")."""
        openai_errors.raise_if_answer_is_error(body)
        found = decode_answer(_READ, body)
        blocks = [(b.type, b.block()) for b in found.content]
        message = _message([b for _, b in blocks if b is not None])
        reason = shape.read_finish(found.stop_reason)
        usage = shape.read_usage(found.usage)
        return Reply(
            id=found.id,
            model=found.model,
            created=0,  # the protocol does not tell
            choices=(Choice(0, message, reason, stop_text=found.stop_sequence),),
            usage=Usage() if usage is None else usage,
            deviations=tuple(left_out(kind) for kind, block in blocks if block is None),
        )

    def stream_writer(self, asked: Asked) -> StreamWriter:
        """Return a writer for one streamed answer."""
        return Writer()

    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""
        return Reader()


def _message(blocks: list[Block]) -> Message:
    """Return the blocks as one message. Raises: BackendError("bad-answer")."""
    try:
        message = read_answer(blocks)
    except RequestRefused as error:
        raise BackendError("bad-answer", f"the endpoint sent {error.message}") from error
    return replace(message, content=None if message.content is None else message.text)
