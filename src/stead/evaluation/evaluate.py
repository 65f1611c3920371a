"""Ask a Backend every question of a benchmark and judge what comes back.

Knows nothing about how the Backend works, files or pages. Whether every metric can judge every row
is checked before the first question, so that no hour is spent on numbers that cannot be had.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from stead.core import seeds
from stead.core.errors import BackendError, EvaluationError
from stead.core.events import Emit, Finished, Progress, Started, ignore
from stead.evaluation.benchmark import Benchmark, Item, answer_text
from stead.inference.backend import Backend
from stead.messages import GenerateRequest, Reply, Sampling
from stead.scoring.scorer import Sample, Score, Scorer

_CHUNK = 512  # requests handed over at once: enough to fill any batch, few enough to show progress


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are asked. Temperature 0: the same answers at every run."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model's answers and scores, row by row in the benchmark's order."""

    model: str
    items: Sequence[Item]
    answers: list[str]
    finish: list[str]
    scores: dict[str, list[Score]]
    seconds: float
    tokens: int
    deviations: dict[str, int] = field(default_factory=dict)  # kind -> rows


async def evaluate(
    benchmark: Benchmark,
    backend: Backend,
    scorers: Mapping[str, Scorer],
    asking: Asking | None = None,
    *,
    model: str = "",
    emit: Emit = ignore,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Answer and judge every item of `benchmark`.

    Raises: EvaluationError("metric-failed") naming metric and row, before anything is asked where
    that can be known; BackendError when the model fails.
    """
    asked = Asking() if asking is None else asking
    items = benchmark.items()
    check(items, scorers)
    needs = {scorer.needs for scorer in scorers.values()}
    started = clock()
    total = len(items) * len(needs)
    emit(Started(stage="answer", total=total, unit="row", info={"model": model}))
    progress = _Progress(total, emit, clock)
    written, scored = _requests(items, asked, model, needs)
    replies = await _ask(backend, written, progress)
    likely = await _ask(backend, scored, progress)
    emit(Finished(stage="answer"))
    samples = [_sample(i, items, replies, likely) for i in range(len(items))]
    return Outcome(
        model=model,
        items=items,
        answers=[s.answer for s in samples],
        finish=[r.choices[0].finish_reason for r in replies],
        scores={name: [scorer.score(s) for s in samples] for name, scorer in scorers.items()},
        seconds=clock() - started,
        tokens=sum(r.usage.completion_tokens for r in replies),
        deviations=_count([*replies, *likely]),
    )


def check(items: Sequence[Item], scorers: Mapping[str, Scorer]) -> None:
    """Judge each reference as if it were the answer: a metric that fails then can never work.

    Raises: EvaluationError("metric-failed"), also for plain text under a metric that needs answers.
    """
    for name, scorer in scorers.items():
        if scorer.needs != "answer":
            continue
        for item in items:
            if item.answer is None:
                raise EvaluationError(
                    "metric-failed",
                    f"{name} compares answers, but {item.where} is plain text",
                    hint="stead evaluate --model DIR --data FILE --metrics perplexity",
                )
            scorer.score(_plain_sample(item, item.reference))


class _Progress:
    """Counts answered rows and estimates what is left."""

    def __init__(self, total: int, emit: Emit, clock: Callable[[], float]) -> None:
        self._total, self._emit, self._clock = total, emit, clock
        self._done, self._start = 0, clock()

    def add(self, rows: int) -> None:
        self._done += rows
        spent = self._clock() - self._start
        left = spent / self._done * (self._total - self._done)
        self._emit(Progress(stage="answer", done=self._done, values={"left_s": round(left, 1)}))


async def _ask(
    backend: Backend, requests: Sequence[GenerateRequest], progress: _Progress
) -> list[Reply]:
    replies: list[Reply] = []
    for start in range(0, len(requests), _CHUNK):
        chunk = requests[start : start + _CHUNK]
        replies += await backend.batch(chunk)
        progress.add(len(chunk))
    return replies


def _requests(
    items: Sequence[Item], asked: Asking, model: str, needs: Collection[str]
) -> tuple[list[GenerateRequest], list[GenerateRequest]]:
    written = [_question(i, item, asked, model) for i, item in enumerate(items)]
    scored = [_likelihood(item, model) for item in items]
    return (written if "answer" in needs else []), (scored if "logprobs" in needs else [])


def _question(index: int, item: Item, asked: Asking, model: str) -> GenerateRequest:
    sampling = Sampling(
        max_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        seed=seeds.stream(asked.seed, index, "question") >> 32,  # 31 bits: what every vendor takes
        stop=asked.stop,
    )
    return GenerateRequest(model=model, messages=item.messages, tools=item.tools, sampling=sampling)


def _likelihood(item: Item, model: str) -> GenerateRequest:
    """Ask for the log-probabilities of the reference instead of an answer."""
    sampling = Sampling(max_tokens=0, logprobs=0)
    if item.answer is None:
        return GenerateRequest(model=model, prompt=item.text, sampling=sampling, echo=True)
    messages = (*item.messages, item.answer)
    return GenerateRequest(
        model=model, messages=messages, tools=item.tools, sampling=sampling, echo=True
    )


def _plain_sample(item: Item, answer: str, logprobs: tuple[float, ...] = ()) -> Sample:
    meta = item.meta | {"where": item.where}
    return Sample(item.prompt, answer, item.reference, logprobs, meta)


def _sample(
    i: int, items: Sequence[Item], replies: Sequence[Reply], likely: Sequence[Reply]
) -> Sample:
    for reply in (*replies[i : i + 1], *likely[i : i + 1]):
        if not reply.choices:
            raise BackendError("empty-reply", f"{reply.model!r} gave no answer to {items[i].where}")
    answer = answer_text(replies[i].choices[0].message) if replies else ""
    logprobs = tuple(t.logprob for t in likely[i].choices[0].logprobs) if likely else ()
    return _plain_sample(items[i], answer, logprobs)


def _count(replies: Sequence[Reply]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for reply in replies:
        for kind in {d.kind for d in reply.deviations}:
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds
