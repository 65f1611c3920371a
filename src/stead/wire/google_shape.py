"""What the routes of Google's Gemini protocol share: addresses, settings, usage, reasons.

Knows nothing about one route. Source: the Gemini API reference (ai.google.dev/api), resources
GenerationConfig, UsageMetadata, Candidate.FinishReason, LogprobsResult.
"""

from typing import Any, ClassVar, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stead.core.errors import BackendError, SteadError
from stead.messages import (
    FinishReason,
    GenerateRequest,
    ModelCard,
    Sampling,
    TokenLogprob,
    Usage,
)
from stead.wire import google_errors
from stead.wire.dialect import decode_answer

NAME: Final = "Gemini's protocol"
ROOT: Final = "/v1beta"
FILES: Final = ("https://generativelanguage.googleapis.com/v1beta/files/", "gs://")
CONFIGURED: Final = ("thinkingConfig", "reasoning_effort")  # extras that are no fields of a body
_SAMPLING: Final = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "max_tokens": "maxOutputTokens",
    "seed": "seed", "presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty",
}  # fmt: skip
CARRIED: Final = frozenset(
    {
        *_SAMPLING, "stop", "n", "logprobs", "tools", "tool_choice", "response_format",
        "messages.image", "messages.reasoning", "messages.tool_calls", "messages.tool_name",
        "messages.failed",
    }
)  # fmt: skip
# Tokens of thought for each effort, as Google's own OpenAI-shaped route translates them.
_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
EFFORTS: Final = tuple(_BUDGETS)
_FINISH: Final[dict[str, FinishReason]] = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "LANGUAGE": "content_filter", "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
}  # fmt: skip
_WRITTEN: Final[dict[FinishReason, str]] = {
    "stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY",
    "error": "OTHER",
}  # fmt: skip


def target(model: str, method: str) -> str:
    """Return the path of a method of a model; a tuned model brings its own collection."""
    name = model.removeprefix("models/")
    collection = "models"
    if name.startswith("tunedModels/"):
        collection, name = "tunedModels", name.removeprefix("tunedModels/")
    return f"{ROOT}/{collection}/{quote(name, safe='')}:{method}"


def write_config(request: GenerateRequest) -> dict[str, Any]:  # Any: JSON values
    """Return `generationConfig` with what was given."""
    sampling = request.sampling
    found = {
        theirs: value
        for ours, theirs in _SAMPLING.items()
        if (value := getattr(sampling, ours)) is not None
    }
    if sampling.stop:
        found["stopSequences"] = sampling.stop
    if sampling.n != 1:
        found["candidateCount"] = sampling.n
    if sampling.logprobs is not None:
        found["responseLogprobs"] = True
        found |= {"logprobs": sampling.logprobs} if sampling.logprobs else {}
    if request.response_format is not None:
        found |= _write_format(request.response_format)
    if "thinkingConfig" in request.extra:
        found["thinkingConfig"] = request.extra["thinkingConfig"]
    elif (effort := request.extra.get("reasoning_effort")) in EFFORTS:
        budget = _BUDGETS[effort]
        found["thinkingConfig"] = {"thinkingBudget": budget, "includeThoughts": budget > 0}
    return found


def _write_format(asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("type") == "text":
        return {}
    found: dict[str, Any] = {"responseMimeType": "application/json"}
    schema = (asked.get("json_schema") or {}).get("schema")
    return found if schema is None else found | {"responseJsonSchema": schema}


class Config(Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """`generationConfig` of a request."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop_sequences: list[str] | None = None
    candidate_count: int | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    thinking_config: dict[str, Any] | None = None


def read_sampling(config: Config) -> Sampling:
    """Return the sampling of a request."""
    alternatives = 0 if config.logprobs is None else config.logprobs
    return Sampling(
        max_tokens=config.max_output_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        seed=config.seed,
        stop=() if config.stop_sequences is None else tuple(config.stop_sequences),
        frequency_penalty=config.frequency_penalty,
        presence_penalty=config.presence_penalty,
        logprobs=alternatives if config.response_logprobs else None,
        n=1 if config.candidate_count is None else config.candidate_count,
    )


def read_format(config: Config) -> dict[str, Any] | None:
    """Return the response format of a request."""
    if config.response_mime_type != "application/json":
        return None
    schema = config.response_json_schema
    schema = config.response_schema if schema is None else schema
    if schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}


class UsageShape(Struct, rename="camel"):
    """`usageMetadata` of an answer; thoughts are counted apart from the answer."""

    prompt_token_count: int = 0
    candidates_token_count: int = 0
    total_token_count: int = 0
    cached_content_token_count: int = 0
    thoughts_token_count: int = 0
    tool_use_prompt_token_count: int = 0


def read_usage(shape: UsageShape | UnsetType) -> Usage | None:
    """Return token counts; None when they are missing or cannot be true (negative)."""
    if not isinstance(shape, UsageShape):
        return None
    prompt = shape.prompt_token_count + shape.tool_use_prompt_token_count
    thoughts, cached = shape.thoughts_token_count, shape.cached_content_token_count
    if min(prompt, shape.candidates_token_count, thoughts, cached) < 0:
        return None
    return Usage(prompt, shape.candidates_token_count + thoughts, cached, thoughts)


def write_usage(usage: Usage) -> UsageShape:
    """Return the wire shape of token counts."""
    return UsageShape(
        usage.prompt_tokens,
        usage.completion_tokens - usage.reasoning_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
    )


def read_finish(reason: str, *, called: bool) -> FinishReason:
    """Return why an answer ended; a reason that is not known is an error."""
    found = _FINISH.get(reason, "error")
    return "tool_calls" if called and found == "stop" else found


def write_finish(reason: FinishReason) -> str:
    """Return the wire's word for why an answer ended."""
    return _WRITTEN[reason]


class LogprobShape(Struct, rename="camel"):
    """A token and its natural-log probability."""

    token: str = ""
    log_probability: float | None = None
    token_id: int | UnsetType = UNSET


class TopShape(Struct):
    """The likeliest tokens of one step."""

    candidates: list[LogprobShape] = []


class LogprobsShape(Struct, rename="camel"):
    """`logprobsResult` of a candidate."""

    chosen_candidates: list[LogprobShape] = []
    top_candidates: list[TopShape] = []


def read_logprobs(shape: LogprobsShape | UnsetType) -> tuple[TokenLogprob, ...]:
    """Return log-probabilities; an absent number is NaN."""
    if not isinstance(shape, LogprobsShape):
        return ()
    tops = [[(t.token, _number(t)) for t in step.candidates] for step in shape.top_candidates]
    tops += [[]] * (len(shape.chosen_candidates) - len(tops))
    return tuple(
        TokenLogprob(
            t.token, _number(t), t.token_id if isinstance(t.token_id, int) else None, tuple(top)
        )
        for t, top in zip(shape.chosen_candidates, tops, strict=False)
    )


def _number(shape: LogprobShape) -> float:
    return float("nan") if shape.log_probability is None else shape.log_probability


def write_logprobs(tokens: tuple[TokenLogprob, ...]) -> LogprobsShape | UnsetType:
    """Return the wire shape of log-probabilities."""
    if not tokens:
        return UNSET
    return LogprobsShape(
        [LogprobShape(t.token, t.logprob, UNSET if t.id is None else t.id) for t in tokens],
        [TopShape([LogprobShape(s, p) for s, p in t.top]) for t in tokens],
    )


class _Card(Struct, rename="camel"):
    name: str
    input_token_limit: int | None = None


class _Cards(Struct):
    models: list[_Card] = []


_CARDS = msgspec.json.Decoder(_Cards)


class GoogleRoute:
    """What every route of this protocol has in common: key, errors, images, the list of models."""

    models_path: ClassVar[str] = f"{ROOT}/models?pageSize=1000"  # its largest page
    serves: ClassVar[bool] = False
    signs_ids: ClassVar[bool] = True

    def auth(self, token: str) -> dict[str, str]:
        """Return the header that carries the key."""
        return {"x-goog-api-key": token}

    def takes_url(self, url: str) -> bool:
        """Say whether the vendor reads an image by this URL: only what lies in its own stores."""
        return url.startswith(FILES)

    def read_models(self, body: bytes) -> list[ModelCard]:
        """Decode the list of models. Raises: BackendError("bad-answer")."""
        cards = decode_answer(_CARDS, body).models
        return [
            ModelCard(
                id=c.name.removeprefix("models/"),
                owned_by="google",
                context_length=c.input_token_limit,
            )
            for c in cards
        ]

    def write_error(self, error: SteadError) -> bytes:
        """Encode an error body."""
        return google_errors.write_error(error)

    def read_error(self, status: int, body: bytes, retry_after: str | None) -> BackendError:
        """Turn an upstream's error answer into one of ours."""
        return google_errors.read_error(status, body, retry_after)
