"""The completion route of Ollama's protocol, `/api/generate`.

Knows nothing about engines. A `raw` prompt is completed as it stands; any other is a conversation of
one turn, as Ollama's templates make it. What would need Ollama's own state or templates (`context`,
`template`, `suffix`) is refused. Source: Ollama's OpenAPI description (docs.ollama.com/openapi.yaml),
schemas GenerateRequest, GenerateResponse and GenerateStreamEvent.
"""

import time

import msgspec
from msgspec import UNSET, UnsetType

from stead.core.errors import BackendError
from stead.messages import (
    Chunk,
    Deviation,
    EmbedRequest,
    GenerateRequest,
    Message,
    Reply,
)
from stead.wire import ollama_messages as messages
from stead.wire import ollama_request as requests
from stead.wire import ollama_shape as shape
from stead.wire.dialect import Asked, GenerateDialect, StreamReader, StreamWriter
from stead.wire.openai_shape import decode_request, refuse
from stead.wire.sse import Event


class _Request(requests.Generating, kw_only=True):
    prompt: str = ""
    system: str | None = None
    images: list[messages.Image] | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None


class _Answer(shape.Ended, kw_only=True):
    response: str = ""
    thinking: str | UnsetType | None = UNSET


_REQUEST = msgspec.json.Decoder(_Request)
_ANSWER = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()
_REFUSED = {
    "template": "templates belong to the model here; send raw=true for a prompt of your own form",
    "context": "no context is kept here; send the conversation to /api/chat",
    "suffix": "there is no filling in before a suffix here",
}


def _check(asked: _Request) -> None:
    for name, why in _REFUSED.items():
        if getattr(asked, name):
            raise refuse(name, why)
    if asked.raw and (asked.system or asked.images):
        field = "system" if asked.system else "images"
        raise refuse(field, f"{field} cannot be put into a raw prompt")


def _conversation(asked: _Request) -> tuple[Message, ...]:
    user = Message("user", messages.read_content(asked.prompt, asked.images, "request"))
    return (Message("system", asked.system), user) if asked.system else (user,)


class OllamaGenerate(shape.OllamaErrors, GenerateDialect):
    """Completions as Ollama's clients know them."""

    kind = "completion"
    path = "/api/generate"
    framing = "ndjson"

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry."""
        return requests.drops(request)

    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""
        asked = decode_request(_REQUEST, body)
        _check(asked)
        if not asked.prompt:
            return requests.ask_to_load(asked)
        streamed = asked.stream is not False
        request = GenerateRequest(
            model=asked.model,
            prompt=asked.prompt if asked.raw else None,
            messages=None if asked.raw else _conversation(asked),
            sampling=requests.read_sampling(asked),
            response_format=requests.read_format(asked.format),
            stream=streamed,
            extra=requests.read_extra(asked),
        )
        return Asked(asked.model, (request,), stream=streamed, begun_ns=time.monotonic_ns())

    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a completion for an upstream. Raises: BackendError for token ids."""
        if isinstance(request, EmbedRequest) or not isinstance(request.prompt, str):
            raise BackendError("not-supported", f"{self.path} takes a prompt as text only")
        return _ENCODER.encode(
            requests.write_shared(request) | {"prompt": request.prompt, "raw": True}
        )

    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer: its first choice, there are no others here."""
        choice = reply.choices[0]
        thought = choice.message.reasoning
        line = _Answer(
            model=reply.model,
            created_at=shape.write_time(reply.created),
            response=choice.message.text,
            thinking=UNSET if thought is None else thought,
            logprobs=shape.write_logprobs(choice.logprobs),
        )
        shape.write_end(line, choice.finish_reason, reply.usage, asked, asked.begun_ns)
        return _ENCODER.encode(line)

    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer. Raises: BackendError("bad-answer")."""
        line = shape.read_whole(_ANSWER, body)
        thought = line.thinking if isinstance(line.thinking, str) and line.thinking else None
        return shape.read_reply(line, Message("assistant", line.response, reasoning=thought))

    def stream_writer(self, asked: Asked) -> StreamWriter:
        """Return a writer for one streamed answer."""
        return _Writer(asked)

    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""
        return _Reader()


class _Writer(shape.OllamaWriter):
    def lines(self, chunk: Chunk) -> list[shape.Ended]:
        if not chunk.text and not chunk.reasoning:
            return []
        thought = chunk.reasoning if chunk.reasoning else UNSET
        logprobs = shape.write_logprobs(chunk.logprobs)
        return [_Answer(response=chunk.text, thinking=thought, logprobs=logprobs)]

    def last(self) -> shape.Ended:
        return _Answer()


class _Reader(shape.OllamaReader):
    def feed(self, event: Event) -> list[Chunk]:
        line = self.decode(_ANSWER, event.data)
        chunk = Chunk(
            id=f"ollama-{line.created_at}",
            model=line.model,
            created=shape.read_time(line.created_at),
            text=line.response,
            reasoning=line.thinking if isinstance(line.thinking, str) else "",
            finish_reason=shape.read_finish(line, called=False) if line.done else None,
            logprobs=shape.read_logprobs(line.logprobs),
            usage=shape.read_usage(line) if line.done else None,
        )
        return [chunk]
