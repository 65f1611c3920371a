"""What a run will process, against the batches that `data/pack` and `training/batches` really make."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stead.config.run import DataSection, RunConfig, TrainerSection
from stead.data.facts import Lengths
from stead.data.pack import plan_batches
from stead.planning.facts import DataFacts
from stead.planning.work import Work, work
from stead.training.rows.batches import Columns


def facts(sizes: list[int], kind: str = "messages") -> DataFacts:
    lengths = Lengths()
    lengths._lengths.extend(sizes)
    return DataFacts(
        rows=len(sizes), tokens=sum(sizes), label_tokens=sum(sizes) // 2, lengths={"max": max(sizes)},
        hash="d", kind=kind, quantiles=tuple(lengths.quantiles()),
    )  # fmt: skip


def config(length: int = 512, **trainer: object) -> RunConfig:
    return RunConfig(
        model={"path": "m", "device": "cpu", "dtype": "bf16"},
        data=DataSection(path="d", max_length=length),
        trainer=TrainerSection.model_validate({"epochs": 1.0} | trainer),
    )


def sizes_of(seed: int, rows: int = 700) -> list[int]:
    rng = random.Random(seed)
    return [rng.randint(20, 500) for _ in range(rows)]


class Rows(Columns):
    """Columns that have lengths only."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = np.array(lengths)


def real(sizes: list[int], budget: int) -> list[list[int]]:
    """Return the filled sizes of every micro-batch's parts, as training makes them."""
    dealt = []
    for rows in plan_batches(sizes, batch_tokens=budget, seed=42, epoch=0):
        parts = Rows(sizes).deal(list(map(int, rows)), 2)
        dealt.append([-(-sum(sizes[r] for r in part) // 64) * 64 for part in parts])
    return dealt


@pytest.mark.parametrize("budget", [512, 1024, 4096])
def test_counts_are_those_of_the_real_batches(budget: int) -> None:
    sizes = sizes_of(1)
    dealt = real(sizes, budget)

    found = work(config(batch_tokens=budget), facts(sizes), 2)

    assert found.tokens == pytest.approx(sum(sizes), rel=0.01)
    assert found.steps == pytest.approx(len(dealt), rel=0.03)
    assert found.largest == pytest.approx(max(map(sum, dealt)), rel=0.07)
    assert found.lane_tokens == pytest.approx(sum(map(max, dealt)), rel=0.05)
    assert found.squares == pytest.approx(sum(n * n for n in sizes), rel=0.03)


def test_one_row_in_a_micro_batch_keeps_one_lane_busy() -> None:
    sizes = [400] * 50

    alone = work(config(batch_tokens=512), facts(sizes), 2)
    beside = work(config(batch_tokens=512, accumulation=2), facts(sizes), 2)

    assert (alone.largest, beside.largest) == (448, 896)
    assert (alone.busy, beside.busy) == (1, 2)
    assert alone.lane_tokens == 2 * beside.lane_tokens


def _cut_at_hundreds(begin: int, end: int) -> list[int]:
    edges = [begin, *[n for n in range(begin + 1, end) if n % 100 == 0], end]
    return [b - a for a, b in pairwise(edges)]


def test_documents_are_packed_into_blocks_and_attend_to_themselves() -> None:
    sizes = [100] * 64

    found = work(config(length=256, batch_tokens=512), facts(sizes, "text"), 2)

    assert found.steps == -(-6400 // 512)
    pieces = [
        n for start in range(0, 6400, 256) for n in _cut_at_hundreds(start, min(6400, start + 256))
    ]
    assert found.squares == pytest.approx(sum(n * n for n in pieces))


def test_more_steps_than_an_epoch_and_fewer() -> None:
    sizes = sizes_of(2)
    whole = work(config(batch_tokens=1024), facts(sizes), 2)

    twice = work(config(batch_tokens=1024, epochs=2.0), facts(sizes), 2)
    short = work(config(batch_tokens=1024, max_steps=10), facts(sizes), 2)

    assert twice.tokens == 2 * whole.tokens
    assert twice.steps == pytest.approx(2 * whole.steps, abs=2)  # another order, other batches
    assert short.steps == 10
    assert short.tokens == pytest.approx(whole.tokens * 10 / whole.steps, rel=0.1)
    assert len(short.shapes) <= len(whole.shapes)


def test_fixed_rows_make_their_own_batches() -> None:
    sizes = sizes_of(3)

    found = work(config(batch_rows=8, batch_tokens=None), facts(sizes), 2)

    assert found.steps == -(-700 // 8)
    assert found.largest > sum(sizes) / len(sizes) * 8


def test_many_rows_are_sampled_not_walked() -> None:
    found = work(config(batch_tokens=2048), facts(sizes_of(4, rows=40_000)), 2)

    assert isinstance(found, Work)
    assert found.tokens == pytest.approx(40_000 * 260, rel=0.02)


def test_the_survey_gives_the_quantiles(tiny_model: Path, tmp_path: Path) -> None:
    from stead.app.plans import make_plan
    from stead.app.surveys import survey_rows
    from stead.hub.inspect import inspect

    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "{"a " * i}", "answer": "b"}}\n' for i in range(1, 60)))
    made = make_plan({"model": {"path": str(tiny_model)}, "data": {"path": str(rows)}})

    found = survey_rows(made.config, inspect(tiny_model), 256)

    assert list(found.quantiles) == sorted(found.quantiles)
    assert found.quantiles[-1] == found.lengths["max"]
    exact = found.tokens * made.config.trainer.epochs
    assert made.forecast.tokens == pytest.approx(exact, rel=0.02)


def test_answers_are_the_tokens_that_a_rollout_learns_from() -> None:
    answers = {"type": "grpo", "num_generations": 4, "max_completion_length": 50,
               "rewards": [{"scorer": "contains"}]}  # fmt: skip
    chosen = RunConfig.model_validate(config(batch_tokens=2048).model_dump() | {"method": answers})
    prompts = DataFacts(
        rows=40, tokens=4000, label_tokens=0, lengths={"max": 100}, hash="d", kind="prompt",
        quantiles=(100,) * 9,
    )  # fmt: skip
    found = work(chosen, prompts, 1)
    assert found.labels_at_once == pytest.approx(found.largest * 200 / 300, abs=1)
