"""Our SFT losses, step by step, against TRL's on the same batches; numbers by derive_trl_sft.py."""

import json
from pathlib import Path

import pytest
import torch
from tests.fakes import training
from tests.fakes.sft import tiny_model, tiny_rows

HERE = Path(__file__).parent


@pytest.mark.spec("002-018")
def test_every_step_has_the_loss_of_trl(tmp_path: Path) -> None:
    from tests.conftest import make_tiny_tokenizer

    torch.set_num_threads(1)
    expected = json.loads((HERE / "trl_sft.json").read_text())["losses"]
    model = tmp_path / "model"
    tiny_model().save_pretrained(model)
    make_tiny_tokenizer(model)
    data = training.prepared(tmp_path / "data", tiny_rows())

    training.run(
        model, data, tmp_path / "run", batch_rows=8, shuffle=False, lr=2e-3, schedule="constant",
        warmup=0.0, weight_decay=0.0, adapter_config={"dropout": 0.0},
    )  # fmt: skip

    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses == pytest.approx(expected, rel=1e-4)  # float32 sums in another order, eight steps
