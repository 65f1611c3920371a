"""Counted seconds: what makes a run longer, by how much, and what does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stead.config.run import RunConfig
from stead.hub.inspect import inspect
from stead.planning import cost
from stead.planning.facts import DataFacts
from stead.planning.machine import Machine
from stead.planning.work import work

MACHINE = Machine({128: 100.0, 512: 200.0}, 1e10, 3.5e8, 3.0, "test", measured=True)
DATA = DataFacts(
    rows=512, tokens=512 * 128, label_tokens=512 * 64, lengths={"max": 128}, hash="d",
    kind="messages", quantiles=(128,) * 9, eval_rows=50,
)  # fmt: skip


def config(method: Any = "sft", adapter: Any = "full", **trainer: Any) -> RunConfig:
    return RunConfig(
        model={"path": "m", "device": "cpu", "dtype": "fp32"},
        data={"path": "d", "max_length": 128},
        method=method,
        adapter=adapter,
        trainer={"batch_tokens": 1024, "epochs": 1.0, "checkpoint_every": 10} | trainer,
    )


def steps(model: Path, chosen: RunConfig, lanes: int = 2) -> dict[str, float]:
    return cost.steps(chosen, inspect(model, tokenizer=False), work(chosen, DATA, lanes), MACHINE)


def test_products_are_six_flops_per_weight_and_token_trained_whole(tiny_model: Path) -> None:
    facts = inspect(tiny_model, tokenizer=False)
    body = facts.parameters - 2 * facts.vocab_size * facts.hidden_size  # embeddings are not tied

    found = steps(tiny_model, config(), lanes=1)

    rate = MACHINE.rate(facts.hidden_size)
    assert found["products"] == pytest.approx(6 * body * DATA.tokens / rate)
    assert found["output layer"] == pytest.approx(
        6 * facts.vocab_size * facts.hidden_size * DATA.label_tokens / rate
    )


@pytest.mark.parametrize(
    ("changed", "part", "factor"),
    [
        (config(gradient_checkpointing=True), "products", 8 / 6),
        (config(epochs=2.0), "products", 2.0),
        (config(accumulation=4), "optimizer", 4 / 7),  # a quarter of the changes, as many sums
    ],
)
def test_a_setting_changes_its_part_by_its_factor(
    tiny_model: Path, changed: RunConfig, part: str, factor: float
) -> None:
    usual, other = steps(tiny_model, config())[part], steps(tiny_model, changed)[part]

    assert other == pytest.approx(usual * factor, rel=0.01)


def test_two_lanes_take_half_as_long(tiny_model: Path) -> None:
    one, two = (steps(tiny_model, config(), lanes=n)["products"] for n in (1, 2))

    assert two == pytest.approx(one / 2, rel=0.01)  # the last micro-batch has an odd number of rows


def test_a_reference_table_is_made_once_and_not_in_every_step(tiny_model: Path) -> None:
    facts, chosen = inspect(tiny_model, tokenizer=False), config(method="dpo", epochs=3.0)
    done = work(chosen, DATA, 2)

    inside = steps(tiny_model, chosen)["products"]
    around = cost.around(chosen, facts, DATA, done, MACHINE, 30.0)

    assert inside == pytest.approx(steps(tiny_model, config(epochs=3.0))["products"])
    assert around["reference"] == pytest.approx(30.0 / 3 / done.tokens * DATA.tokens)


def test_answers_are_written_before_they_are_learnt_from(tiny_model: Path) -> None:
    facts = inspect(tiny_model, tokenizer=False)
    method = {"type": "grpo", "num_generations": 4, "max_completion_length": 32}
    chosen = config(method=method | {"rewards": ["exact_match"]})
    done = work(chosen, DATA, 2)

    assert done.written == pytest.approx(DATA.rows * 4 * 32)
    assert cost.steps(chosen, facts, done, MACHINE)["answers"] > 0
    assert steps(tiny_model, config())["answers"] == 0


def test_more_checkpoints_and_evaluations_take_longer(tiny_model: Path) -> None:
    facts = inspect(tiny_model, tokenizer=False)

    def around(**trainer: Any) -> dict[str, float]:
        chosen = config(**trainer)
        return cost.around(chosen, facts, DATA, work(chosen, DATA, 2), MACHINE, 30.0)

    usual = around()
    assert around(checkpoint_every=5)["checkpoints"] > usual["checkpoints"]
    assert around(eval_every=10)["evaluation"] > usual["evaluation"]
    assert cost.around(
        config(), facts, replace(DATA, eval_rows=0), work(config(), DATA, 2), MACHINE, 30.0
    )["evaluation"] == 0  # fmt: skip
