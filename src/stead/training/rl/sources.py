"""Engines that write the answers instead of the trained weights in this process.

Knows nothing about rewards or losses. Before each generation an engine is given the present weights;
what it drew comes back as token ids with its own log-probabilities, never as text: text cut into
tokens again may be other tokens. What an engine draws is not a function of the seed alone.
"""

import asyncio
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field, model_validator

from stead.config.kinds import Section, registry
from stead.core import files
from stead.core.errors import ConfigError, TrainingError
from stead.core.http import Http, Waits
from stead.core.ids import new_id
from stead.engines.engine import Order
from stead.inference.remote import Remote
from stead.messages import Choice, GenerateRequest, Message, Sampling, TokenLogprob
from stead.training.method import Tools
from stead.training.rl.rollout_buffer import Written

_SEEDS = 1 << 31  # engines take 32 bits with a sign
_SLOTS = 8  # answers that llama.cpp writes side by side
_WAITS = Waits(first_s=None, between_s=None)  # an answer comes whole
_SHOWN = 200  # characters of an answer in an error
_VLLM = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora --max-lora-rank 64"
_TOKEN = "token_id:"  # how vLLM writes ids where texts are expected  # noqa: S105 - no secret


class SamplerSettings(Section):
    """Which engine writes the answers, and how far its draws are trusted."""

    engine: Literal["llama_cpp", "vllm"] = Field(description="llama_cpp: started here with a GGUF of the weights; vllm: a server that loads the adapter")  # fmt: skip
    url: str | None = Field(default=None, description="vllm: where it answers, e.g. http://127.0.0.1:8000")  # fmt: skip
    token_env: str | None = Field(default=None, description="environment variable that holds the server's key")  # fmt: skip
    quant: Literal["f32", "f16", "bf16"] = Field(default="f16", description="llama_cpp: number type of the GGUF")  # fmt: skip
    cap: float = Field(default=2.0, gt=0, description="the most that an answer's token counts when the trainer finds it likelier than the engine did")  # fmt: skip

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.url is None) == (self.engine == "vllm"):
            raise ValueError(f"sampler.url is given for engine=vllm and for no other, not with {self.engine!r}")  # fmt: skip
        return self


class Source(ABC):
    """Writes answers with the weights of a step. Use from one thread; nothing runs between calls."""

    def __init__(self, settings: SamplerSettings, tools: Tools) -> None:
        self.settings, self.tools = settings, tools
        self.folder = tools.folder / "sampler"
        self.name = f"stead-{new_id()}"

    @abstractmethod
    async def ask(
        self, requests: Sequence[GenerateRequest], stop_ids: Sequence[int]
    ) -> list[Choice]:
        """Give the engine the present weights and answer all requests, one choice each."""

    def write(
        self, prompts: Sequence[Sequence[int]], each: Sequence[Sequence[int]], sampling: Sampling,
        stop_ids: Sequence[int],
    ) -> list[list[Written]]:  # fmt: skip
        """Answer prompt i once per seed in `each[i]`.

        Raises: TrainingError("sampler-no-ids" | "sampler-refused"), BackendError, ModelError.
        """
        sampling = replace(sampling, logprobs=1)
        requests = [
            GenerateRequest(
                model=self.name, prompt=tuple(prompt),
                sampling=replace(sampling, seed=seed % _SEEDS),
            )
            for prompt, own in zip(prompts, each, strict=True) for seed in own
        ]  # fmt: skip
        known = sampling.temperature in (None, 1.0)  # else the numbers are of another distribution
        found = iter(asyncio.run(self.ask(requests, stop_ids)))
        return [[_written(next(found), stop_ids, known=known) for _ in own] for own in each]

    def fresh(self) -> Path:
        """Return an empty folder for the present weights."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self.folder


class FromLlamaCpp(Source):
    """The embedded llama.cpp, started for each generation: it holds no memory while weights change."""

    async def ask(
        self, requests: Sequence[GenerateRequest], stop_ids: Sequence[int]
    ) -> list[Choice]:
        """Write a GGUF of the present weights, start the engine on it, answer, stop it."""
        folder = self.fresh()
        self.tools.save(folder / "weights")
        self.tools.write_gguf(folder / "weights", folder / "model.gguf", self.settings.quant)
        engine, http = registry("engine").create("llama_cpp"), Http(keepalive_s=0)
        order = Order(model=str(folder / "model.gguf"), name=self.name, parallel=_SLOTS,
                      context=_SLOTS * self._longest(requests))  # fmt: skip
        gate = asyncio.Semaphore(_SLOTS)

        async def one(request: GenerateRequest) -> Choice:
            async with gate:
                url, body = f"{here.url}/completion", files.json_bytes(self._body(request))
                status, said = await _post(http, url, here.token, body)
            if status != 200:
                raise _refused(url, status, said, None)
            return _native(_COMPLETION.decode(said))

        try:
            here = engine.start(order, folder / "engine")
            return list(await asyncio.gather(*map(one, requests)))
        finally:
            await http.close()
            engine.stop()
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _longest(requests: Sequence[GenerateRequest]) -> int:
        return max(len(r.prompt or ()) + (r.sampling.max_tokens or 0) for r in requests) + 1

    @staticmethod
    def _body(request: GenerateRequest) -> dict[str, Any]:  # Any: JSON values
        """Return the fields of the engine's own route: only it tells the ids of all tokens."""
        s = request.sampling
        return {
            "prompt": request.prompt, "n_predict": s.max_tokens, "temperature": s.temperature,
            "top_p": s.top_p, "top_k": s.top_k, "min_p": s.min_p, "seed": s.seed,
            "cache_prompt": False, "return_tokens": True, "n_probs": 1,
        }  # fmt: skip


class _Probability(Struct):
    id: int
    logprob: float


class _Completion(Struct):
    """An answer of llama.cpp's `/completion`. Source: its tools/server/README.md."""

    tokens: list[int]
    stop_type: str = ""
    completion_probabilities: list[_Probability] = msgspec.field(default_factory=list)


_COMPLETION = msgspec.json.Decoder(_Completion)


def _native(found: _Completion) -> Choice:
    """Return the tokens drawn. Those that end inside a character have no probability, and then none
    is taken: which of them lacks it is not said."""
    told = [p.id for p in found.completion_probabilities] == found.tokens
    logs = [p.logprob for p in found.completion_probabilities] if told else [math.nan] * len(found.tokens)  # fmt: skip
    drawn = tuple(TokenLogprob("", x, i) for i, x in zip(found.tokens, logs, strict=True))
    return Choice(0, Message("assistant", None), "stop" if found.stop_type == "eos" else "length", drawn)  # fmt: skip


class FromVllm(Source):
    """A running vLLM, which loads the adapter of the step; it must see this machine's files.

    Source: docs.vllm.ai, "LoRA adapters", dynamically serving them, and the completions API.
    """

    def __init__(self, settings: SamplerSettings, tools: Tools) -> None:
        super().__init__(settings, tools)
        if tools.adapter.kind != "adapter":
            raise ConfigError(
                "sampler-needs-adapter",
                "vllm is given an adapter for each generation, and this run trains whole weights",
                hint="stead train RECIPE --set adapter=lora",
            )
        self._key = _key(settings.token_env)
        self._url = str(settings.url).rstrip("/").removesuffix("/v1")
        self._count, self._loaded = 0, ""

    async def ask(
        self, requests: Sequence[GenerateRequest], stop_ids: Sequence[int]
    ) -> list[Choice]:
        """Let the server load the present adapter and forget the former one; answer."""
        folder = self.fresh() / str(self._count)
        self.tools.save(folder)
        name, former = f"{self.name}-{self._count}", self._loaded
        await self._tell("load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        self._count, self._loaded = self._count + 1, name
        if former:
            await self._tell("unload_lora_adapter", {"lora_name": former})
        extra = {"return_tokens_as_token_ids": True, "stop_token_ids": list(stop_ids)}
        backend = Remote(self._url, token=self._key)
        try:
            replies = await backend.batch([replace(r, model=name, extra=extra) for r in requests])
        finally:
            await backend.close()
        return [reply.choices[0] for reply in replies]

    async def _tell(self, route: str, body: dict[str, str]) -> None:
        url, http = f"{self._url}/v1/{route}", Http()
        try:
            status, said = await _post(http, url, self._key, files.json_bytes(body))
        finally:
            await http.close()
        if status != 200:
            raise _refused(url, status, said, _VLLM)


_KINDS: dict[str, type[Source]] = {"llama_cpp": FromLlamaCpp, "vllm": FromVllm}


def open_source(settings: SamplerSettings, tools: Tools, *, alone: bool) -> Source:
    """Return the engine the settings name; `alone`: no other process trains with us.

    Raises: ConfigError("sampler-alone" | "sampler-needs-adapter" | "no-sampler-key").
    """
    if not alone:
        raise ConfigError(
            "sampler-alone", "an engine's draws differ between processes, and several train together",
            hint="stead train RECIPE --set launch.type=process",
        )  # fmt: skip
    return _KINDS[settings.engine](settings, tools)


async def _post(http: Http, url: str, key: str | None, body: bytes) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"}
    headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
    async with await http.open("POST", url, headers=headers, body=body, waits=_WAITS) as answer:
        return answer.status, await answer.read()


def _refused(url: str, status: int, said: bytes, hint: str | None) -> TrainingError:
    shown = said.decode(errors="replace")[:_SHOWN]
    return TrainingError("sampler-refused", f"{url} answered {status}: {shown}", hint=hint)


def _written(choice: Choice, stop_ids: Sequence[int], *, known: bool) -> Written:
    """Return an answer up to its end token; an end token that was not sent is put there."""
    ids = [_id(t) for t in choice.logprobs]
    logs = [t.logprob if known else math.nan for t in choice.logprobs]
    ends = [i for i, token in enumerate(ids) if token in stop_ids]
    if ends:
        ids, logs = ids[: ends[0] + 1], logs[: ends[0] + 1]
    elif choice.finish_reason == "stop" and stop_ids:
        ids, logs = [*ids, stop_ids[0]], [*logs, math.nan]
    if not ids:
        raise TrainingError("sampler-no-ids", "the engine sent no tokens with its answer")
    return Written(tuple(ids), tuple(logs), bool(ends) or choice.finish_reason == "stop")


def _id(token: TokenLogprob) -> int:
    if token.id is not None:
        return token.id
    number = token.token.removeprefix(_TOKEN)
    if number == token.token or not number.isdigit():
        raise TrainingError(
            "sampler-no-ids",
            f"the engine does not say which tokens it drew, only their text ({token.token!r})",
        )
    return int(number)


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise ConfigError("no-sampler-key", f"the environment has no {variable!r} (sampler.token_env)")  # fmt: skip
    return os.environ[variable]
