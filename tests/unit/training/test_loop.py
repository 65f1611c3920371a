"""The loop's arithmetic: the flat script, accumulation, lanes, bad numbers, wrong data."""

import json
from pathlib import Path

import pytest
import torch
from examples.sft_loop import train as flat_train
from tests.fakes import training

from stead.core.errors import ConfigError, DataError, TrainingError
from stead.core.events import AnyEvent, Progress
from stead.hub.inspect import inspect


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def losses(out: Path) -> list[float]:
    return [json.loads(x)["loss"] for x in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.spec("000-020", "003-072", "000-033")
def test_the_flat_script_has_the_losses_of_the_real_loop_to_the_bit(
    tiny_model: Path, tmp_path: Path
) -> None:
    data = training.prepared(tmp_path / "data", training.rows(16))

    training.run(tiny_model, data, tmp_path / "run", adapter_config={"dropout": 0.1})

    assert flat_train(tiny_model, tmp_path / "data", 8) == losses(tmp_path / "run")


def test_eight_rows_at_once_are_eight_accumulated_ones(tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", training.rows(32))
    same = {"adapter": "full", "shuffle": False, "lr": 1e-3}

    training.run(tiny_model, data, tmp_path / "a", batch_rows=8, **same)
    training.run(tiny_model, data, tmp_path / "b", batch_rows=1, accumulation=8, **same)

    assert losses(tmp_path / "a") == pytest.approx(losses(tmp_path / "b"), rel=1e-5)


def test_lanes_give_the_same_losses_and_repeat_to_the_bit(tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", training.rows(32))
    same = {"batch_rows": 4, "adapter_config": {"dropout": 0.0}}
    training.run(tiny_model, data, tmp_path / "one", **same)
    torch.set_num_threads(2)

    results = [training.run(tiny_model, data, tmp_path / n, **same) for n in ("two", "again")]

    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]


@pytest.mark.spec("001-037", "002-057")
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_follows_float32(dtype: str, tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", training.rows(16))
    same = {"adapter_config": {"dropout": 0.0}, "epochs": 2.0}

    training.run(tiny_model, data, tmp_path / "wide", dtype="fp32", **same)
    training.run(tiny_model, data, tmp_path / "half", dtype=dtype, **same)

    # 8 bits of mantissa: each loss near 5.8 is right to about a part in a hundred
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "wide"), rel=0.02)


def test_a_number_that_is_none_stops_the_run_and_spoils_nothing(
    tiny_model: Path, tmp_path: Path
) -> None:
    data = training.prepared(tmp_path / "data", training.rows(16))

    with pytest.raises(TrainingError) as caught:
        training.run(tiny_model, data, tmp_path / "run", adapter="full", lr=1e30, clip=0.0)

    assert caught.value.code in ("loss-not-finite", "gradient-not-finite")
    assert not (tmp_path / "run" / "final").exists()


def test_a_learning_rate_of_zero_is_a_value(tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", training.rows(4))
    events: list[AnyEvent] = []

    training.run(tiny_model, data, tmp_path / "run", lr=0.0, emit=events.append)

    assert {e.values["lr"] for e in events if isinstance(e, Progress)} == {0.0}


@pytest.mark.spec("001-012", "002-031", "001-051")
def test_every_step_reports_loss_rate_speed_and_memory(tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", training.rows(8), training.rows(2, seed=9))
    events: list[AnyEvent] = []

    result = training.run(tiny_model, data, tmp_path / "run", emit=events.append, eval_every=2)

    steps = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in steps] == [1, 2, 3, 4]
    assert {"loss", "lr", "grad_norm", "tokens_per_s", "peak_rss_mib", "seconds_left"} <= set(steps[0].values)  # fmt: skip
    assert result["eval_loss"] > 0


@pytest.mark.spec("003-076")
def test_data_of_another_kind_and_unknown_names_are_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    data = training.prepared(tmp_path / "data", training.rows(4), kind="preference")

    with pytest.raises(DataError, match="needs messages or text"):
        training.run(tiny_model, data, tmp_path / "a")
    with pytest.raises(ConfigError, match="did you mean 'lora'"):
        training.run(tiny_model, data, tmp_path / "b", adapter="lorra")
    with pytest.raises(ConfigError, match="rank"):
        training.run(tiny_model, data, tmp_path / "c", adapter_config={"rank": 8})


@pytest.mark.spec("003-075")
def test_a_fully_trained_model_is_a_folder_that_loads(tiny_model: Path, tmp_path: Path) -> None:
    from stead.models.load import load_model

    data = training.prepared(tmp_path / "data", training.rows(8))

    training.run(tiny_model, data, tmp_path / "run", adapter="full", lr=1e-3)

    final = tmp_path / "run" / "final"
    loaded = load_model(final, dtype="fp32", device="cpu")
    assert loaded.tokenizer.chat_template is not None
    assert (
        json.loads((final / "stead.json").read_text())["base_hash"]
        == inspect(tiny_model, tokenizer=False).hash
    )
