"""Our preference losses, step by step, against TRL's on the same batches.

The numbers were made by derive_trl_preference.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import preference, training
from tests.fakes.sft import VOCABULARY, tiny_model

from stead.values import PreparedData

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "trl_preference.json").read_text())["losses"]
ROWS = 24
CASES: dict[str, dict[str, Any]] = {
    "dpo-sigmoid": {},
    "dpo-hinge": {"loss": "hinge"},
    "dpo-ipo": {"loss": "ipo"},
    "dpo-robust": {"loss": "robust", "label_smoothing": 0.1},
    "dpo-apo_zero": {"loss": "apo_zero"},
    "dpo-apo_down": {"loss": "apo_down"},
    "dpo-simpo": {"loss": "simpo", "beta": 2.0, "gamma": 0.5},
    "kto": {"undesirable_weight": 1.5},
    "orpo": {"beta": 0.1},
    "reward": {"centering": 0.01},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import make_tiny_tokenizer

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    make_tiny_tokenizer(folder)
    return folder


def data(case: str, folder: Path) -> PreparedData:
    rows = preference.pairs(ROWS, seed=3, vocabulary=VOCABULARY)
    if case == "kto":
        chosen = [good for good, _ in rows]
        labels = [float(i % 2 == 0) for i in range(ROWS)]
        return preference.prepared_labelled(folder, (chosen, labels))
    if case == "orpo":
        rows = [(_one_token_prompt(a), _one_token_prompt(b)) for a, b in rows]
    return preference.prepared_pairs(folder, rows, margins=[0.5] * ROWS)


def _one_token_prompt(row: preference.Row) -> preference.Row:
    answer = row[0][row[1].index(1) :]
    return row[0][:1] + answer, [0] + [1] * len(answer)


@pytest.mark.spec("002-021")
@pytest.mark.parametrize("case", CASES)
def test_every_step_has_the_loss_of_trl(case: str, model: Path, tmp_path: Path) -> None:
    full = case == "reward"  # TRL trains its head there as one more weight of the model

    training.run(
        model, data(case, tmp_path / "data"), tmp_path / "run", method=case.partition("-")[0],
        method_config=CASES[case], adapter="full" if full else "lora",
        adapter_config={} if full else {"dropout": 0.0}, lr=1e-4 if full else 2e-3,
        batch_rows=1 if case == "orpo" else 4, shuffle=False, schedule="constant", warmup=0.0,
        weight_decay=0.0,
    )  # fmt: skip

    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses == pytest.approx(EXPECTED[case], rel=2e-4)  # float32 sums in another order
