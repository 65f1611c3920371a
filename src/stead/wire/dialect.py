"""The seam for protocols: one codec per route of a vendor's API, used by both ends.

Knows nothing about sockets or servers. A dialect turns bytes into `messages` and back; the server
reads requests and writes replies with it, the client writes requests and reads replies.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import msgspec

from stead.core.errors import BackendError, SteadError, UsageError
from stead.core.registry import Registry
from stead.messages import (
    Chunk,
    Deviation,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    ModelCard,
    Reply,
)
from stead.wire.sse import Event

Kind = Literal["chat", "completion", "embedding", "count"]
Framing = Literal["sse", "ndjson"]
T = TypeVar("T")


class RequestRefused(UsageError):  # noqa: N818 - the state, by its usual name
    """A request that the protocol does not allow; `details["param"]` names the field."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A decoded request body: what to do, and what only the answer's writer needs to know."""

    model: str
    generate: tuple[GenerateRequest, ...] = ()  # several: a completion of several prompts
    embed: EmbedRequest | None = None
    stream: bool = False
    include_usage: bool = False
    encoding: Literal["float", "base64"] = "float"
    begun_ns: int = 0  # of `time.monotonic_ns()`, where the answer tells durations
    deviations: tuple[Deviation, ...] = ()  # what of the body was not taken as it was given
    loads: bool = False  # nothing is asked but that the model be there


class StreamWriter(ABC):
    """Write one streamed answer; made anew for each, because protocols number their events."""

    @abstractmethod
    def chunk(self, chunk: Chunk) -> bytes:
        """Return the event bytes for a chunk (may be empty)."""

    @abstractmethod
    def end(self) -> bytes:
        """Return what ends a successful stream; never called after an error."""

    @abstractmethod
    def error(self, error: SteadError) -> bytes:
        """Return the event that ends a stream which failed after it had begun."""


class StreamReader(ABC):
    """Read one streamed answer. `ended` turns true at the protocol's own end marker."""

    ended: bool = False

    @abstractmethod
    def feed(self, event: Event) -> Sequence[Chunk]:
        """Return the chunks of an event. Raises: BackendError for an error event or nonsense."""


class _Card(msgspec.Struct):
    id: str
    created: int = 0
    owned_by: str = ""


class _Cards(msgspec.Struct):
    data: list[_Card]


_CARDS = msgspec.json.Decoder(_Cards)


class Dialect(ABC):
    """One route of a protocol, both directions. Instances hold no state.

    `serves` False: our server has no such route, only the client uses it.
    """

    kind: ClassVar[Kind]
    path: ClassVar[str]
    framing: ClassVar[Framing] = "sse"  # how a streamed answer is cut into events
    serves: ClassVar[bool] = True
    relays: ClassVar[bool] = False  # each event of a stream stands for itself and can be sent on
    signs_ids: ClassVar[bool] = False  # ids of calls may end in a signature (see `wire.ids`)
    models_path: ClassVar[str] = "/v1/models"  # where an upstream lists what it serves

    def target(self, request: GenerateRequest | EmbedRequest) -> str:
        """Return path and query for an upstream; some protocols name the model there."""
        return self.path

    def auth(self, token: str) -> dict[str, str]:
        """Return the headers that carry the key to an upstream."""
        return {"Authorization": f"Bearer {token}"}

    def drops(self, request: GenerateRequest | EmbedRequest) -> tuple[Deviation, ...]:
        """Return what of a request this protocol cannot carry; `write_request` leaves that out."""
        return ()

    def takes_url(self, url: str) -> bool:
        """Say whether an upstream fetches an image by this URL itself, or wants its bytes."""
        return True

    def read_models(self, body: bytes) -> list[ModelCard]:
        """Decode an upstream's list of models. Raises: BackendError("bad-answer")."""
        cards = decode_answer(_CARDS, body).data
        return [ModelCard(id=c.id, created=c.created, owned_by=c.owned_by) for c in cards]

    @abstractmethod
    def read_request(self, body: bytes) -> Asked:
        """Decode and check a request. Raises: RequestRefused naming the field."""

    @abstractmethod
    def write_request(self, request: GenerateRequest | EmbedRequest) -> bytes:
        """Encode a request for an upstream; a streamed one asks for usage."""

    @abstractmethod
    def write_error(self, error: SteadError) -> bytes:
        """Encode an error as this protocol's clients expect it."""

    @abstractmethod
    def read_error(self, status: int, body: bytes, retry_after: str | None) -> BackendError:
        """Turn an upstream's error answer into one of ours, with status and body excerpt."""


class GenerateDialect(Dialect):
    """A route that generates: chat or completion."""

    @abstractmethod
    def write_reply(self, reply: Reply, asked: Asked) -> bytes:
        """Encode a whole answer."""

    @abstractmethod
    def read_reply(self, body: bytes) -> Reply:
        """Decode a whole answer. Raises: BackendError("bad-answer")."""

    @abstractmethod
    def stream_writer(self, asked: Asked) -> StreamWriter:
        """Return a writer for one streamed answer."""

    @abstractmethod
    def stream_reader(self) -> StreamReader:
        """Return a reader for one streamed answer."""


class EmbedDialect(Dialect):
    """A route that turns texts into vectors."""

    @abstractmethod
    def write_vectors(self, reply: EmbedReply, asked: Asked) -> bytes:
        """Encode vectors."""

    @abstractmethod
    def read_vectors(self, body: bytes) -> EmbedReply:
        """Decode vectors. Raises: BackendError("bad-answer")."""


class CountDialect(Dialect):
    """A route that counts the tokens of a request without answering it."""

    @abstractmethod
    def write_count(self, tokens: int) -> bytes:
        """Encode the count."""

    @abstractmethod
    def read_count(self, body: bytes) -> int:
        """Decode the count. Raises: BackendError("bad-answer")."""


DIALECTS: Registry[Dialect] = Registry(
    "dialect", "stead.wire.dialects", base="stead.wire.dialect:Dialect"
)


def status_of(error: SteadError) -> int:
    """Return the HTTP status for an error: its own, unless its details name a narrower one."""
    status = error.details.get("status")
    return status if isinstance(status, int) else error.http_status


def decode_answer(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Decode an upstream's bytes. Raises: BackendError("bad-answer") with an excerpt."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BackendError(
            "bad-answer",
            f"the endpoint sent something else than its protocol: {error}: {excerpt(body)!r}",
        ) from error


def excerpt(body: bytes, length: int = 200) -> str:
    """Return the start of a body as printable text, for messages."""
    text = body[: 4 * length].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text)[:length]
