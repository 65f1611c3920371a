"""Every adapter and method of this kind with two lanes, and in bf16: the same run as with one, in float32."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import training

from stead.values import PreparedData

CASES: dict[str, dict[str, Any]] = {
    "prefix": {"adapter": "prefix", "adapter_config": {"tokens": 3}, "lr": 1e-2},
    "qat": {"adapter": "qat", "adapter_config": {"bits": 4}, "lr": 1e-3},
    "wanda": {"adapter": "pruning", "adapter_config": {"method": "wanda"}, "lr": 1e-3},
    "feature": {"method": "distillation", "method_config": {"kind": "feature"}, "adapter": "full", "lr": 1e-3},
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return training.prepared(tmp_path / "data", training.rows(12))


def run(case: str, threads: int, model: Path, data: PreparedData, out: Path, **more: Any) -> Any:
    torch.set_num_threads(threads)
    settings = dict(CASES[case])
    if case == "feature":
        settings["method_config"] = settings["method_config"] | {"teacher": str(model)}
    result = training.run(model, data, out, batch_rows=4, **settings, **more)
    log = (out / "metrics.jsonl").read_text().splitlines()
    return result["weights_sha256"], [json.loads(line)["loss"] for line in log]


@pytest.mark.parametrize("case", CASES)
def test_two_lanes_repeat_to_the_bit_and_agree_with_one(
    case: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    _, one = run(case, 1, tiny_model, data, tmp_path / "one")
    first, two = run(case, 2, tiny_model, data, tmp_path / "two")
    again, _ = run(case, 2, tiny_model, data, tmp_path / "again")

    assert first == again
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_bf16_follows_float32(
    case: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    _, wide = run(case, 1, tiny_model, data, tmp_path / "wide")
    _, half = run(case, 1, tiny_model, data, tmp_path / "half", dtype="bf16")

    # 8 bits of mantissa: each loss near 5.8 is right to about a part in a hundred
    assert half == pytest.approx(wide, rel=0.02, abs=0.02)
