"""Pruning as a user types it: real processes, one JSON line, exact zeros, smaller files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stead.core.errors import ConfigError, ModelError
from stead.models.load import load_model
from stead.training.pruning.prune import prune

NAME = "model.layers.1.mlp.down_proj.weight"


def stead(*arguments: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "stead", *arguments, "--json"],
        capture_output=True, text=True, check=False, env=dict(os.environ), timeout=120,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    texts = [f"the quick brown fox jumps over {i} lazy dogs" for i in range(8)]
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return path


def test_wanda_writes_a_model_that_loads(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    status, made, error = stead(
        "wanda", str(tiny_model), "--data", str(rows), "--pattern", "2:4", "--out", str(tmp_path / "b")
    )  # fmt: skip

    assert (status, made["sparsity"]) == (0, 0.5), error
    kept = load_file(tmp_path / "b" / "model.safetensors")[NAME].view(64, -1, 4) != 0
    assert kept.sum(-1).unique().tolist() == [2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_pruned_keeps_its_bits(
    dtype: torch.dtype, tiny_model: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_model, dtype="fp32").model.to(dtype)
    shutil.copytree(tiny_model, tmp_path / "base")
    model.save_pretrained(tmp_path / "base")

    prune(str(tmp_path / "base"), str(tmp_path / "a"), choice={"method": "magnitude", "sparsity": 0.3})  # fmt: skip

    before, after = (load_file(tmp_path / n / "model.safetensors") for n in ("base", "a"))
    assert after[NAME].dtype == dtype
    assert (after[NAME] == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    for name, weight in before.items():
        assert torch.equal(torch.where(after[name] == 0, 0, weight), after[name]), name


def test_prune_takes_every_choice(tiny_model: Path, tmp_path: Path) -> None:
    status, made, error = stead(
        "prune", str(tiny_model), "--method", "structured", "--parts", "both", "--out", str(tmp_path / "a"),
        "--sparsity", "0.25", "--scope", "layer", "--importance", "norm",
    )  # fmt: skip

    assert status == 0, error
    assert made["parameters"] < made["parameters_before"]
    config = load_model(tmp_path / "a").model.config
    assert (config.intermediate_size, config.num_key_value_heads) == (
        96,
        2,
    )  # of 2: a quarter is none


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_wanda_keeps_what_the_paper_keeps(
    dtype: str, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """Inputs of one layer by a hook on transformers' own forward pass, one row at a time.

    The layer before it is pruned already: what reaches this one is what the pruned model gives it.
    """
    choice = {"method": "wanda", "sparsity": 0.25}
    made = prune(
        str(tiny_model), str(tmp_path / "out"), choice=choice, calibration={"data": str(rows)},
        dtype=dtype, device="cpu",
    )  # fmt: skip
    assert made["sparsity"] == 0.25

    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    seen: list[torch.Tensor] = []
    written = load_file(tmp_path / "out" / "model.safetensors")
    before = loaded.model.model.layers[0]
    state = before.state_dict()
    before.load_state_dict({n: written[f"model.layers.0.{n}"].float() for n in state})
    layer = loaded.model.model.layers[1].mlp.down_proj
    layer.register_forward_pre_hook(lambda _, x: seen.append(x[0][0]))
    for line in rows.read_text().splitlines():
        ids = loaded.tokenizer(json.loads(line)["text"])["input_ids"] + [2]
        with torch.no_grad():
            loaded.model(input_ids=torch.tensor([ids]))
    scores = layer.weight.abs() * torch.cat(seen).norm(dim=0)
    gone = torch.zeros_like(scores, dtype=torch.bool)
    gone.scatter_(1, scores.topk(32, 1, largest=False).indices, True)

    found = written[NAME].float() == 0
    assert found.sum(1).unique().tolist() == [32]
    same = (found == gone).float().mean()
    assert same == 1.0 if dtype == "fp32" else same > 0.98  # 8 bits of mantissa move near ties


def test_first_order_importance_is_the_loss_one_would_lose(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    settings = {"method": "structured", "sparsity": 0.5, "importance": "first-order"}
    prune(str(tiny_model), str(tmp_path / "out"), choice=settings,
          calibration={"data": str(rows)}, dtype="fp32", device="cpu")  # fmt: skip

    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    total = torch.zeros(())
    for line in rows.read_text().splitlines():
        ids = torch.tensor([loaded.tokenizer(json.loads(line)["text"])["input_ids"] + [2]])
        out = loaded.model(input_ids=ids).logits[0]
        total = total + torch.nn.functional.cross_entropy(out[:-1], ids[0, 1:], reduction="sum")
    total.backward()
    mlp = loaded.model.model.layers[1].mlp
    parts = [(m.weight * m.weight.grad) for m in (mlp.gate_proj, mlp.up_proj, mlp.down_proj)]
    importance = (parts[0].sum(1) + parts[1].sum(1) + parts[2].sum(0)).abs()
    kept = importance.topk(64).indices.sort().values

    found = load_file(tmp_path / "out" / "model.safetensors")[NAME]
    assert torch.equal(found, mlp.down_proj.weight.detach()[:, kept])


def test_what_cannot_be_pruned_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from tests.fakes.models import adapter_folder

    folder = adapter_folder(tmp_path / "adapter", tiny_model)

    with pytest.raises(ModelError, match="whole model"):
        prune(str(folder), str(tmp_path / "a"), choice={})
    with pytest.raises(ConfigError, match="looks at rows"):
        prune(str(tiny_model), str(tmp_path / "b"),
              choice={"method": "structured", "importance": "first-order"})  # fmt: skip
