"""What flows to and from a model: messages, requests, replies, chunks (msgspec structs).

Knows nothing about protocols or engines; `wire` translates these to each vendor's bytes. None of these values
refers back to what holds it, so the collector of cycles need not look at them (`gc=False`).
"""

from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class TextPart(msgspec.Struct, gc=False, tag_field="type", tag="text", frozen=True):
    """A piece of text inside a message."""

    text: str


class ImagePart(msgspec.Struct, gc=False, tag_field="type", tag="image", frozen=True):
    """An image by URL (`https:` or `data:`)."""

    url: str
    detail: str | None = None


Part = TextPart | ImagePart


class ToolCall(msgspec.Struct, gc=False, frozen=True):
    """The model asks for a function; `arguments` is JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


class Thought(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """A piece of reasoning as its vendor sealed it: goes back to that vendor unchanged, or not at all.

    `seal` is opaque (a signature or a cipher text), `issuer` the protocol it belongs to.
    """

    issuer: str
    seal: str
    text: str = ""
    id: str | None = None
    withheld: bool = False  # the vendor shows no text at all


class Message(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """One turn. `content` is text, parts, or None when there are only tool calls.

    `thoughts`, where there are any, hold the text of `reasoning` piece by piece.
    """

    role: Role
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None
    thoughts: tuple[Thought, ...] = ()
    failed: bool = False  # what a tool answered is an error

    @property
    def text(self) -> str:
        """The text of the message, its text parts joined; "" when there is none."""
        if isinstance(self.content, str):
            return self.content
        return "".join(p.text for p in self.content or () if isinstance(p, TextPart))


class Sampling(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """How to choose tokens. None means "not given": the endpoint's own default. 0 is a value."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_penalty: float | None = None
    logprobs: int | None = None  # None: none; k: the chosen token's and the k likeliest
    logit_bias: dict[str, float] = {}
    n: int = 1


class Usage(msgspec.Struct, gc=False, frozen=True):
    """Token counts as the endpoint reports them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # of the prompt: read from the vendor's cache
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0  # of the prompt: written to the vendor's cache
    long_write_tokens: int = 0  # of those written: to be kept for an hour, where that is dearer

    @property
    def total_tokens(self) -> int:
        """Prompt plus completion."""
        return self.prompt_tokens + self.completion_tokens


class Deviation(msgspec.Struct, gc=False, frozen=True):
    """One thing done differently from what was asked, e.g. `param_dropped`, `input_truncated`."""

    kind: str
    detail: str


class Attempt(msgspec.Struct, gc=False, kw_only=True):
    """One request sent to one endpoint, whatever came of it; written by whoever sends it."""

    candidate: str  # name of the component or chain entry
    model: str  # as the endpoint calls it
    seconds: float = 0.0
    first_s: float | None = None  # until the first content byte
    outcome: Literal["ok", "failed", "cancelled", "cut"] = "failed"
    code: str | None = None  # of the error
    usage: Usage | None = None  # as reported; of a cut stream what was counted
    estimated: bool = False  # the usage was counted here, the endpoint reported none
    cost: int | None = None  # picodollars (1e-12 USD); None: no price is known


class Call(msgspec.Struct, gc=False, kw_only=True):
    """What travels with a request and is filled on its way: who asks, and what was done for them.

    Made once at the edge; never sent to an endpoint. Copies of a request share it.
    """

    id: str
    key: str = ""  # the id of the API key, "" without keys
    limits: tuple[Any, ...] = ()  # Any: `core.shared.Limit` of that key; messages know no limits
    models: frozenset[str] | None = None  # what the key may ask for; None: all
    tags: frozenset[str] = frozenset()
    attempts: list[Attempt] = []
    deviations: list[Deviation] = []


def sampled(sampling: Sampling) -> dict[str, Any]:  # Any: JSON values
    """Return the fields of a sampling that differ from "not given"."""
    found: dict[str, Any] = msgspec.to_builtins(sampling)  # leaves defaults out
    return found


class GenerateRequest(msgspec.Struct, gc=False, frozen=True, omit_defaults=True, kw_only=True):
    """One generation. Exactly one of `messages` (chat) and `prompt` (completion) is set."""

    model: str
    messages: tuple[Message, ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    sampling: Sampling = Sampling()
    tools: tuple[dict[str, Any], ...] = ()  # Any: JSON schema of each function, as given
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    stream: bool = False
    strict: bool = False  # deviations become errors
    user: str | None = None
    echo: bool = False
    extra: dict[str, Any] = {}  # fields only one vendor knows, passed through as they came
    call: Call | None = None


class TokenLogprob(msgspec.Struct, gc=False, frozen=True):
    """A token, its natural-log probability, and the likeliest alternatives."""

    token: str
    logprob: float
    id: int | None = None
    top: tuple[tuple[str, float], ...] = ()
    raw: bytes | None = None  # the token's bytes where `token` cannot show them


class Choice(msgspec.Struct, gc=False, frozen=True):
    """One answer of a reply."""

    index: int
    message: Message
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()
    stop_text: str | None = None  # which of the stop texts ended it, where that is told


class Reply(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A whole answer. `model` is who really answered."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage = Usage()
    deviations: tuple[Deviation, ...] = ()

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].message.text


class ToolCallDelta(msgspec.Struct, gc=False, frozen=True):
    """A piece of a streamed tool call; `index` says of which one."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Raw(msgspec.Struct, gc=False, frozen=True):
    """The bytes a piece of a stream came as, and what they say.

    They may be sent on as they are by a server of the same `dialect`, as long as the chunk still says the
    same; a chunk that was changed on the way no longer `fits` them.
    """

    dialect: str
    data: bytes
    id: str
    index: int
    model: str
    text: str
    usage: bool = False  # whether token counts are inside

    def fits(self, chunk: "Chunk", dialect: str) -> bool:
        """Say whether these bytes are the chunk in a dialect."""
        return (
            self.dialect == dialect
            and self.text is chunk.text
            and self.model is chunk.model
            and self.id is chunk.id
            and self.index == chunk.index
        )


class Chunk(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One piece of a streamed answer. The last one of a choice carries `finish_reason`;
    the last one of the stream carries `usage`. `thought` ends a piece of reasoning and repeats its
    text, which came as `reasoning` before.
    """

    id: str
    model: str
    created: int
    index: int = 0
    text: str = ""
    reasoning: str = ""
    role: Role | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()
    thought: Thought | None = None
    finish_reason: FinishReason | None = None
    stop_text: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    usage: Usage | None = None
    deviations: tuple[Deviation, ...] = ()
    raw: Raw | None = None


class EmbedRequest(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """Texts (or token ids) to turn into vectors."""

    model: str
    input: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    user: str | None = None
    strict: bool = False
    call: Call | None = None


class EmbedReply(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One vector per input, in order."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage = Usage()


class ModelCard(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """What an endpoint says of one model it serves."""

    id: str
    created: int = 0
    owned_by: str = "stead"
    context_length: int | None = None
    capabilities: tuple[str, ...] = ()
