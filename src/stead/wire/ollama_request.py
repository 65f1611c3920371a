"""Requests of Ollama's two generating routes: options, format, thinking, and what is left out.

Knows nothing about one route or about answers. Source: Ollama's OpenAPI description
(docs.ollama.com/openapi.yaml), schemas ModelOptions, GenerateRequest, ChatRequest.
"""

import time
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from stead.messages import Deviation, EmbedRequest, GenerateRequest, Message, Sampling
from stead.wire import given, seals
from stead.wire.dialect import Asked
from stead.wire.extras import EXTRAS, carried
from stead.wire.ollama_shape import NAME, Model
from stead.wire.openai_shape import Penalty, Seed, Share, Stops, StopText, refuse, stops

PROTOCOL: Final = "ollama"  # its row in `wire.extras`
_TOP: Final = frozenset({"keep_alive", "think", "reasoning_effort", "truncate", "shift"})
_OPTIONS: Final = EXTRAS[PROTOCOL] - _TOP  # extras that stand in `options`
_SAMPLING: Final = {  # options that are fields of `Sampling`, by their name there
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
    "seed": "seed", "max_tokens": "num_predict", "repeat_penalty": "repeat_penalty",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
}  # fmt: skip
CARRIED: Final = frozenset({*_SAMPLING, "stop", "logprobs", "response_format", "messages.image"})
_NEAREST: Final = {"minimal": "low", "xhigh": "high"}  # efforts of others, and what comes nearest
_EFFORTS: Final = ("low", "medium", "high")


class Options(Struct, forbid_unknown_fields=True, kw_only=True):
    """`options` of a request: sampling, and what only Ollama's runners know."""

    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Share | None = None
    seed: Seed | None = None
    num_predict: Annotated[int, Meta(ge=-2, le=2**31 - 1)] | None = None
    stop: StopText | Stops | None = None
    repeat_penalty: Annotated[float, Meta(ge=0, le=10)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    num_ctx: int | None = None
    num_keep: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    typical_p: float | None = None
    tfs_z: float | None = None
    repeat_last_n: int | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    penalize_newline: bool | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    vocab_only: bool | None = None
    logits_all: bool | None = None
    embedding_only: bool | None = None
    draft_num_predict: int | None = None


class Generating(Struct, forbid_unknown_fields=True, kw_only=True):
    """Request fields that both generating routes have; a stream unless told otherwise."""

    model: Model
    stream: bool | None = None
    options: Options | None = None
    format: str | dict[str, Any] | None = None  # Any: a JSON schema
    keep_alive: float | str | None = None
    think: bool | str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


def read_sampling(asked: Generating) -> Sampling:
    """Return the sampling of a request. Raises: RequestRefused."""
    found = Options() if asked.options is None else asked.options
    if found.num_predict == 0:
        raise refuse("options.num_predict", "num_predict is 0; nothing could be answered")
    if asked.top_logprobs is not None and not asked.logprobs:
        raise refuse("top_logprobs", "top_logprobs needs logprobs to be true")
    fields = {ours: getattr(found, theirs) for ours, theirs in _SAMPLING.items()}
    if found.num_predict is not None and found.num_predict < 0:
        fields["max_tokens"] = None  # -1: no limit, -2: until the context is full
    alternatives = 0 if asked.top_logprobs is None else asked.top_logprobs
    return Sampling(
        **fields, stop=stops(found.stop), logprobs=alternatives if asked.logprobs else None
    )


def read_extra(asked: Generating) -> dict[str, Any]:  # Any: JSON values
    """Return what only this protocol knows, in the names of `GenerateRequest.extra`."""
    found: dict[str, Any] = {}
    for name in sorted(EXTRAS[PROTOCOL]):
        holder = asked.options if name in _OPTIONS else asked
        if holder is not None and (value := getattr(holder, name, None)) is not None:
            found[name] = value
    if isinstance(asked.think, str):
        if asked.think not in _EFFORTS:
            raise refuse("think", f"{asked.think!r} is not true, false, 'low', 'medium' or 'high'")
        found["reasoning_effort"] = found.pop("think")
    return found


def read_format(value: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """Return `format` as a response format. Raises: RequestRefused."""
    if value in (None, ""):
        return None
    if value == "json":
        return {"type": "json_object"}
    if isinstance(value, dict):
        return {"type": "json_schema", "json_schema": {"name": "response", "schema": value}}
    raise refuse("format", f"{value!r} is not 'json' or a JSON schema")


def ask_to_load(asked: Generating) -> Asked:
    """Return what a request without words means: load the model. Raises: RequestRefused for unloading.

    Source: Ollama's API description, "Load a model" and "Unload a model".
    """
    if asked.keep_alive in (0, "0"):
        raise refuse("keep_alive", "models are unloaded by themselves here")
    request = GenerateRequest(model=asked.model, messages=(Message("user", ""),))
    return Asked(asked.model, (request,), loads=True, begun_ns=time.monotonic_ns())


def write_shared(request: GenerateRequest) -> dict[str, Any]:  # Any: JSON values
    """Return the fields that both generating routes have."""
    sampling = request.sampling
    options = {
        theirs: value
        for ours, theirs in _SAMPLING.items()
        if (value := getattr(sampling, ours)) is not None
    }
    if sampling.stop:
        options["stop"] = sampling.stop
    body: dict[str, Any] = {"model": request.model, "stream": request.stream}
    for name, value in carried(request.extra, PROTOCOL).items():
        (options if name in _OPTIONS else body)[name] = value
    if "reasoning_effort" in body:
        body["think"] = _write_effort(body.pop("reasoning_effort"))
    if options:
        body["options"] = options
    if request.response_format is not None:
        body |= _write_format(request.response_format)
    if sampling.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    return body


def _write_effort(effort: Any) -> Any:  # Any: a JSON value, as it came
    return False if effort == "none" else _NEAREST.get(str(effort), effort)


def _write_format(asked: dict[str, Any]) -> dict[str, Any]:
    """Return `format` for a response format; plain text needs none."""
    schema = (asked.get("json_schema") or {}).get("schema")
    if asked.get("type") == "json_schema" and isinstance(schema, dict):
        return {"format": schema}
    return {} if asked.get("type") == "text" else {"format": "json"}


def drops(request: GenerateRequest | EmbedRequest, *more: str) -> tuple[Deviation, ...]:
    """Return what the generating routes cannot carry; `more` is what only one of them can."""
    if isinstance(request, EmbedRequest):
        return ()
    known = carried(request.extra, PROTOCOL).keys()
    found = given.missing(request, CARRIED | known | set(more), NAME)
    found += seals.dropped(request, None)
    effort = str(request.extra.get("reasoning_effort"))
    if effort not in _NEAREST:
        return found
    words = f"reasoning_effort {effort!r} is {_NEAREST[effort]!r} in {NAME}"
    return (*found, Deviation("param_translated", words))


def untaken(**given_: object) -> tuple[Deviation, ...]:
    """Return a deviation for each field of an embedding request that was given and has no effect."""
    return tuple(
        Deviation(given.DROPPED, f"{name} has no effect on vectors here")
        for name, value in given_.items()
        if value is not None
    )
