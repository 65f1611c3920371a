"""How fast any Backend answers: first token, tokens per second, memory of this process.

Knows nothing about the model behind it. Load time is the caller's to measure; it is passed through.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import psutil

from stead.core.errors import BackendError
from stead.inference.backend import Backend
from stead.messages import GenerateRequest, Message, Sampling

_PROMPT = "Tell me about the weather in the mountains, in as many words as you like."
_TRIES = 5  # seeds for one answer: a model may end at once by chance


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over the rounds. Units: seconds, tokens per second after the first, MiB."""

    load_s: float | None
    first_token_s: float
    tokens_per_s: float
    rss_mib: float
    rounds: int
    tokens: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields as JSON values."""
        return asdict(self)


async def measure(
    backend: Backend,
    model: str = "",
    *,
    rounds: int = 3,
    tokens: int = 64,
    load_s: float | None = None,
    prompt: str = _PROMPT,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Stream `rounds` answers after one to warm up, and take medians.

    An answer that ends at once is asked for again with another seed.
    Raises: BackendError("no-tokens") when five answers have fewer than two pieces to time.
    """
    firsts, rates, written = [], [], 0
    for number in range(rounds + 1):
        first, rate, count = await _timed(backend, model, prompt, tokens, number, clock)
        if number:
            firsts.append(first)
            rates.append(rate)
            written += count
    rss = psutil.Process().memory_info().rss / 2**20
    return Speed(load_s, median(firsts), median(rates), round(rss, 1), rounds, written)


def _request(model: str, prompt: str, tokens: int, seed: int) -> GenerateRequest:
    sampling = Sampling(max_tokens=tokens, temperature=1.0, seed=seed)
    messages = (Message(role="user", content=prompt),)
    return GenerateRequest(model=model, messages=messages, sampling=sampling, stream=True)


async def _timed(
    backend: Backend, model: str, prompt: str, tokens: int, seed: int, clock: Callable[[], float]
) -> tuple[float, float, int]:
    for other in range(_TRIES):
        try:
            request = _request(model, prompt, tokens, seed + 1000 * other)
            return await _once(backend, request, clock)
        except BackendError as error:
            if error.code != "no-tokens" or other == _TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


async def _once(
    backend: Backend, request: GenerateRequest, clock: Callable[[], float]
) -> tuple[float, float, int]:
    start = clock()
    times: list[float] = []
    reported = 0
    async for chunk in backend.stream(request):
        if chunk.usage is not None:
            reported = chunk.usage.completion_tokens
        elif chunk.role is None and chunk.finish_reason is None:
            times.append(clock())
    count = max(reported, len(times))
    if len(times) < 2 or times[-1] <= times[0]:
        raise BackendError("no-tokens", f"{request.model!r} wrote {count} tokens: nothing to time")
    return times[0] - start, (count - 1) / (times[-1] - times[0]), count
