"""What the routes of the OpenAI protocol share: bounds, sampling, usage, log-probabilities.

Knows nothing about one route. Source: the published OpenAPI description of the OpenAI API
(schemas CompletionUsage, ChatCompletionTokenLogprob).
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stead.messages import FinishReason, GenerateRequest, Sampling, TokenLogprob, Usage
from stead.wire.dialect import RequestRefused

S = TypeVar("S")

Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Choices = Annotated[int, Meta(ge=1, le=128)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Alternatives = Annotated[int, Meta(ge=0, le=20)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
StopText = Annotated[str, Meta(min_length=1, max_length=1024)]
Stops = Annotated[list[StopText], Meta(max_length=16)]  # the vendor allows 4, engines more

SAMPLING_FIELDS = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty",
    "presence_penalty", "repeat_penalty",
)  # fmt: skip

_FINISH: dict[str, FinishReason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "eos": "stop", "error": "error",
}  # fmt: skip


class StreamOptions(Struct, forbid_unknown_fields=True):
    """`stream_options` of a request."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingFields(Struct, kw_only=True, forbid_unknown_fields=True):
    """Request fields that both generating routes have; the three before the last are common extensions,
    the last is our own.
    """

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    n: Choices | None = None
    seed: Seed | None = None
    stop: StopText | Stops | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Meta(ge=0, le=10)] | None = None
    strict: bool | None = None


def stops(value: str | list[str] | None) -> tuple[str, ...]:
    """Return stop texts as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def sampling(asked: SamplingFields, *, max_tokens: int | None, logprobs: int | None) -> Sampling:
    """Return the sampling of a request; the routes differ in these two fields only."""
    return Sampling(
        max_tokens=max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        seed=asked.seed,
        stop=stops(asked.stop),
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        repeat_penalty=asked.repeat_penalty,
        logprobs=logprobs,
        logit_bias={} if asked.logit_bias is None else asked.logit_bias,
        n=1 if asked.n is None else asked.n,
    )


def usage_wanted(asked: SamplingFields) -> bool:
    """Say whether a stream ends with usage. Raises: RequestRefused for options without stream."""
    if asked.stream_options is None:
        return False
    if not asked.stream:
        raise refuse("stream_options", "stream_options needs stream to be true")
    return bool(asked.stream_options.include_usage)


def texts(param: str, value: str | list[str | int | list[int]]) -> list[str | tuple[int, ...]]:
    """Return each of the four shapes the protocol has: text, texts, token ids, lists of ids."""
    if isinstance(value, str):
        return [value]
    kinds = {type(v) for v in value}
    if len(kinds) != 1:
        raise refuse(param, f"{param} holds texts, or token ids, or lists of ids, not a mixture")
    if kinds == {int}:
        ids = tuple(v for v in value if isinstance(v, int))
        if not 0 <= min(ids) <= max(ids) < 2**31:
            raise refuse(param, f"{min(ids)} … {max(ids)} are no token ids")
        return [ids]
    return [tuple(v) if isinstance(v, list) else str(v) for v in value]


Role = Literal["system", "developer", "user", "assistant", "tool"]

_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`(?: - at `\$(?P<at>[^`]*)`)?")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`(?: - at `\$(?P<at>[^`]*)`)?")
_AT = re.compile(r" - at `(?:key in )?\$(?P<at>[^`]*)`")


def decode_request(decoder: "msgspec.json.Decoder[S]", body: bytes) -> S:
    """Decode a request body. Raises: RequestRefused with the field in `details["param"]`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestRefused("invalid-json", f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise RequestRefused("invalid-json", "the body is nested too deeply") from error


def convert(value: Any, kind: type[S], where: str) -> S:  # Any: decoded JSON
    """Check a decoded piece of a body. Raises: RequestRefused with the field below `where`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), where) from error


def _refusal(message: str, where: str = "") -> RequestRefused:
    """Turn the decoder's words into the vendor's: what is wrong, and where (below `where`)."""
    for pattern, code, words in (
        (_UNKNOWN, "unknown-parameter", "unknown parameter"),
        (_MISSING, "missing-required-parameter", "missing required parameter"),
    ):
        if found := pattern.search(message):
            at = (where + (found["at"] or "")).lstrip(".")
            name = f"{at}.{found['name']}" if at else found["name"]
            return RequestRefused(code, f"{words}: {name!r}", param=name)
    found = _AT.search(message)
    at = (where + (found["at"] if found else "")).lstrip(".")
    param = at if at else None
    text = _AT.sub("", message)
    return RequestRefused("invalid-value", f"{param}: {text}" if param else text, param=param)


def chosen(choice: dict[str, Any]) -> str | None:  # Any: JSON values
    """Return the function a tool choice names; None for another kind of choice."""
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def lost_choice(request: GenerateRequest, protocol: str) -> list[str]:
    """Return the words for a tool choice that only the chat route knows."""
    choice = request.tool_choice
    if not isinstance(choice, dict) or chosen(choice) is not None:
        return []
    return [f"tool_choice {choice.get('type')!r} is unknown to {protocol}"]


def refuse(param: str, message: str, code: str = "invalid-value") -> RequestRefused:
    """Return the refusal of one field."""
    return RequestRefused(code, message, param=param)


class TopLogprob(Struct):
    """One alternative of a token."""

    token: str
    logprob: float | None = None
    bytes: list[int] | None = None


class ChatLogprob(TopLogprob):
    """A token of a chat answer with its alternatives; `id` is an extension of local engines."""

    top_logprobs: list[TopLogprob] = []
    id: int | UnsetType | None = UNSET


class ChatLogprobs(Struct):
    """`logprobs` of a chat choice."""

    content: list[ChatLogprob] | None = None
    refusal: list[ChatLogprob] | None = None


def write_logprobs(tokens: tuple[TokenLogprob, ...]) -> ChatLogprobs | None:
    """Return the chat shape of log-probabilities; None when there are none."""
    if not tokens:
        return None
    return ChatLogprobs(
        [
            ChatLogprob(
                t.token,
                t.logprob,
                list(t.token.encode("utf-8", "surrogatepass") if t.raw is None else t.raw),
                [TopLogprob(s, p, list(s.encode("utf-8", "surrogatepass"))) for s, p in t.top],
                UNSET if t.id is None else t.id,
            )
            for t in tokens
        ]
    )


def read_logprobs(shape: ChatLogprobs | None) -> tuple[TokenLogprob, ...]:
    """Return log-probabilities of the chat shape; an absent number is NaN."""
    if shape is None or shape.content is None:
        return ()
    return tuple(
        TokenLogprob(
            t.token,
            number(t.logprob),
            t.id if isinstance(t.id, int) else None,
            tuple((a.token, number(a.logprob)) for a in t.top_logprobs),
            _raw(t),
        )
        for t in shape.content
    )


def number(value: float | None) -> float:
    """Return a log-probability; an absent one (the first token of an echo) is NaN."""
    return float("nan") if value is None else value


def _raw(token: ChatLogprob) -> bytes | None:
    """Return the token's bytes where they differ from its text (a part of a character)."""
    if token.bytes is None or any(not 0 <= b <= 255 for b in token.bytes):
        return None
    raw = bytes(token.bytes)
    return None if raw == token.token.encode("utf-8", "surrogatepass") else raw


class PromptDetails(Struct):
    """Where prompt tokens came from, and went to."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Struct):
    """What completion tokens were for."""

    reasoning_tokens: int | None = None


class UsageShape(Struct):
    """`usage` of an answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


def write_usage(usage: Usage) -> UsageShape:
    """Return the wire shape of token counts."""
    return UsageShape(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        PromptDetails(usage.cached_tokens, usage.cache_write_tokens),
        CompletionDetails(usage.reasoning_tokens),
    )


def read_usage(shape: UsageShape | None) -> Usage | None:
    """Return token counts; None when they are missing or cannot be true (negative)."""
    if shape is None or min(shape.prompt_tokens, shape.completion_tokens) < 0:
        return None
    prompt = PromptDetails() if shape.prompt_tokens_details is None else shape.prompt_tokens_details
    thought = shape.completion_tokens_details and shape.completion_tokens_details.reasoning_tokens
    return Usage(
        shape.prompt_tokens,
        shape.completion_tokens,
        max(0, prompt.cached_tokens or 0),
        max(0, thought or 0),
        max(0, prompt.cache_write_tokens or 0),
    )


def read_finish(value: str | None) -> FinishReason:
    """Return why a whole answer ended; an unknown reason is an error, none given is a stop."""
    return "stop" if value is None else _FINISH.get(value, "error")


def write_sampling(sampling: Sampling) -> dict[str, Any]:  # Any: JSON values
    """Return the sampling fields that were given, for an upstream."""
    found: dict[str, Any] = {}
    for key in SAMPLING_FIELDS:
        if (value := getattr(sampling, key)) is not None:
            found[key] = value
    if sampling.stop:
        found["stop"] = sampling.stop
    if sampling.logit_bias:
        found["logit_bias"] = sampling.logit_bias
    if sampling.n != 1:
        found["n"] = sampling.n
    return found


def write_stream(request: GenerateRequest) -> dict[str, Any]:  # Any: JSON values
    """Return the fields that ask for a stream with usage at its end."""
    if not request.stream:
        return {}
    return {"stream": True, "stream_options": {"include_usage": True}}
