"""Counted bytes on the disk, against what adapters and models really write."""

from pathlib import Path
from typing import Any

import pytest

from stead.app.plans import make_plan
from stead.app.surveys import survey_rows
from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.data.prepare import prepare
from stead.hub.inspect import inspect
from stead.models.layers import layers
from stead.models.load import load_model
from stead.planning import disk
from stead.planning.shape import trainable


def config(adapter: Any, method: Any = "sft", **trainer: Any) -> RunConfig:
    return RunConfig(
        model={"path": "m", "device": "cpu", "dtype": "fp32"},
        data={"path": "d", "max_length": 64},
        adapter=adapter,
        method=method,
        trainer={"batch_tokens": 64, "optimizer": "adamw"} | trainer,
    )


@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "p_tuning", "encoder": "mlp"},
        {"type": "p_tuning", "encoder": "mlp", "hidden": 24},
        {"type": "p_tuning", "encoder": "lstm"},
        {"type": "p_tuning", "encoder": "lstm", "hidden": 16, "layers": 3},
        {"type": "prefix"},
        {"type": "prefix", "projection": True},
        {"type": "prefix", "projection": True, "hidden": 40},
        {"type": "adalora"},
    ],
)
def test_trained_and_written_numbers_are_those_of_the_real_adapter(
    adapter: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    chosen = config(adapter)
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    made = registry("adapter").get(adapter["type"])(chosen.adapter)
    made.wrap(loaded.model, layers, 1)
    facts = inspect(tiny_model, tokenizer=False)

    real = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)

    assert trainable(facts, chosen.adapter) == real
    assert disk.final_bytes(chosen, facts) <= 4 * real + 10_000


def test_a_whole_result_brings_its_tokenizer(tiny_model: Path) -> None:
    facts = inspect(tiny_model, tokenizer=False)

    texts = disk.final_bytes(config("full"), facts) - facts.parameters * 4

    assert texts > (tiny_model / "tokenizer.json").stat().st_size


def test_adalora_keeps_two_more_numbers_for_each_trained_one(tiny_model: Path) -> None:
    facts = inspect(tiny_model, tokenizer=False)
    chosen = config("adalora")

    grown = disk.checkpoint_bytes(chosen, facts) - disk._CHECKPOINT_BYTES

    assert grown == trainable(facts, chosen.adapter) * (4 + 8 + 8)


def test_prepared_rows_are_as_large_as_counted(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"question": "{"a " * i}", "answer": "b{i}"}}\n' for i in range(1, 90)))  # fmt: skip
    made = make_plan(
        None, {"model.path": str(tiny_model), "data.path": str(path), "data.eval_share": 0.2}
    )
    ready = prepare(made.config.data, tiny_model, tmp_path / "ready", max_length=256)

    facts = survey_rows(made.config, inspect(tiny_model), 256)
    real = sum(p.stat().st_size for p in ready.path.iterdir() if p.suffix in (".bin", ".jsonl"))

    assert facts.text_bytes > 0
    assert disk.disk(made.config, inspect(tiny_model), facts, 1)["prepared data"] == pytest.approx(real, rel=0.05)  # fmt: skip
