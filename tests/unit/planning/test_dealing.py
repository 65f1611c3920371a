"""The rows that a plan deals to steps, against those that `data/pack` and `training/rows` give a run."""

from pathlib import Path

import pytest

from stead.app.plans import make_plan
from stead.app.surveys import survey_rows
from stead.config.run import DataSection, RunConfig, TrainerSection
from stead.data.pack import plan_batches
from stead.hub.inspect import inspect
from stead.planning.dealing import deal
from stead.planning.facts import DataFacts
from stead.planning.rows import rows
from stead.planning.work import work
from stead.training.rows.steps import Steps

SIZES = [(37 * i * i) % 391 + 10 for i in range(600)]


def config(method: object = "sft", **trainer: object) -> RunConfig:
    return RunConfig(
        model={"path": "m", "device": "cpu", "dtype": "fp32"},
        data=DataSection(path="d", max_length=512),
        method=method,
        trainer=TrainerSection.model_validate({"epochs": 1.0} | trainer),
    )


@pytest.mark.parametrize(
    "trainer",
    [
        {"batch_tokens": 1024, "epochs": 2.0},
        {"batch_tokens": 512, "epochs": 1.4, "accumulation": 3, "seed": 7},
        {"batch_tokens": 700, "max_steps": 9, "accumulation": 2},
        {"batch_tokens": 700, "shuffle": False},
        {"batch_tokens": None, "batch_rows": 7, "epochs": 0.3},
        {"batch_tokens": None, "batch_rows": 16, "epochs": 3.0, "max_steps": 50},
        {"batch_tokens": 512, "epochs": 0.01},
    ],
)
def test_the_dealt_rows_are_those_of_the_run(trainer: dict[str, object]) -> None:
    chosen = config(**trainer)
    t = chosen.trainer
    tokens = t.batch_tokens if isinstance(t.batch_tokens, int) else None
    real = Steps(
        lambda epoch: plan_batches(
            SIZES, batch_tokens=tokens, batch_rows=t.batch_rows, seed=t.seed, epoch=epoch, shuffle=t.shuffle,
        ),
        t.epochs, t.accumulation, t.max_steps,
    )  # fmt: skip

    found = deal(chosen, SIZES)

    assert found.steps == real.total
    assert found.times == 1.0
    assert found.groups == [real.rows(step) for step in range(real.total)]


def test_rows_beyond_the_dealt_ones_are_like_them() -> None:
    sizes = [40 + i % 50 for i in range(60_000)]

    found = deal(config(batch_tokens=1024), sizes)

    assert found.times > 1
    assert found.steps == pytest.approx(sum(sizes) / 1024, rel=0.05)


def test_what_both_answers_share_is_counted_once(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    long = "the same long question over and over " * 8
    path.write_text("".join(f'{{"prompt": "{long}{i}", "chosen": "yes {i}", "rejected": "no {i}"}}\n' for i in range(40)))  # fmt: skip
    made = make_plan(
        None,
        {"model.path": str(tiny_model), "data.path": str(path), "method": "dpo",
         "trainer.max_steps": 3, "trainer.batch_rows": 4, "data.eval_share": 0.2},
    )  # fmt: skip
    facts = survey_rows(made.config, inspect(tiny_model), 2048)

    found = rows(made.config, facts)

    assert len(facts.sizes) == facts.rows == 32
    assert sum(facts.trees) < 0.7 * facts.tokens  # both columns hold the question
    assert found.costs == list(facts.trees)
    assert made.forecast.tokens == sum(
        facts.trees[r] for group in deal(made.config, found.costs).groups for m in group for r in m
    )


def facts(kind: str = "messages", **more: object) -> DataFacts:
    return DataFacts(
        rows=len(SIZES), tokens=sum(SIZES), label_tokens=sum(SIZES) // 2, lengths={"max": max(SIZES)},
        hash="d", kind=kind, sizes=tuple(SIZES), trees=tuple(SIZES), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_largest_part_is_that_of_the_steps_that_are_made() -> None:
    few = work(config(batch_tokens=None, batch_rows=4, max_steps=2), facts(), 2)
    all_of_them = work(config(batch_tokens=None, batch_rows=4), facts(), 2)

    assert few.largest < all_of_them.largest


def test_a_table_of_the_reference_is_made_in_batches_of_its_own() -> None:
    small = {"batch_tokens": None, "batch_rows": 1}

    assert work(config("sft", **small), facts(), 2).asked == 0
    assert work(config("dpo", **small), facts("preference"), 2).asked == 2 * 4096
    free = {"type": "dpo", "reference_free": True}
    assert work(config(free, **small), facts("preference"), 2).asked == 0
    held_out = work(config("sft", **small), facts(eval_rows=500), 2).asked
    assert held_out == 2 * 2048
