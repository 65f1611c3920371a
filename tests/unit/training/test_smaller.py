"""Runs that end smaller: training on a grid beats rounding afterwards; pruned stays pruned; resume."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tests.fakes import training

from stead.config.kinds import registry
from stead.core.errors import Interrupted
from stead.core.events import AnyEvent
from stead.core.process import stop_requested
from stead.models.layers.grid import snap
from stead.models.learner import Learner
from stead.models.load import load_model
from stead.training.rows.batches import Columns
from stead.values import PreparedData

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    made = training.rows(16)
    return training.prepared(tmp_path / "data", made, made[:2])


def stop_after(step: int) -> Any:
    def watch(event: AnyEvent) -> None:
        if getattr(event, "done", None) == step:
            stop_requested.set()

    return watch


def matrices(folder: Path) -> dict[str, torch.Tensor]:
    found = load_file(folder / "model.safetensors")
    return {n: t for n, t in found.items() if n.split(".")[-2] in MATRICES}


def loss(folder: Path, data: PreparedData, *, rounded: bool) -> float:
    """Return the training loss of a saved model, its matrices rounded to 4 bits or as they are."""
    loaded = load_model(folder, dtype="fp32", device="cpu")
    if rounded:
        for name, parameter in loaded.model.named_parameters():
            if name.split(".")[-2] in MATRICES:
                parameter.data = snap(parameter.data, 4, 32)
    learner = Learner(loaded)
    batch = Columns(data, "train", ("tokens",)).batch(range(16))["tokens"]
    with torch.no_grad():
        total, count = learner.label_loss(batch)
    return float(total) / count


def add_outliers(folder: Path) -> None:
    """Give two channels large weights that the norm before them undoes, as large models have them."""
    path = folder / "model.safetensors"
    found = load_file(path)
    for name in list(found):
        kind = name.split(".")[-2]
        if kind in MATRICES:
            found[name] *= 5
        if kind in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"):
            found[name][:, [1, 40]] *= 20
        if kind in ("input_layernorm", "post_attention_layernorm"):
            found[name][[1, 40]] /= 20
    save_file(found, path, metadata={"format": "pt"})


def test_a_model_trained_on_the_grid_loses_nothing_and_beats_one_rounded_afterwards(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    add_outliers(base)
    same = {"lr": 3e-3, "epochs": 25.0, "batch_rows": 16}
    training.run(base, data, tmp_path / "full", adapter="full", **same)
    training.run(base, data, tmp_path / "qat", adapter="qat", adapter_config={"bits": 4}, **same)

    full, qat = (tmp_path / n / "final" for n in ("full", "qat"))
    assert loss(qat, data, rounded=True) == loss(qat, data, rounded=False)
    assert loss(full, data, rounded=True) > loss(full, data, rounded=False)
    assert loss(qat, data, rounded=True) < 0.8 * loss(full, data, rounded=True)


@pytest.mark.parametrize(("bits", "quant"), [(8, "q8_0"), (4, "q4_0")])
def test_its_gguf_file_holds_exactly_the_trained_weights(
    bits: int, quant: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    import gguf

    from stead.exporting.formats.gguf import GGUF
    from stead.exporting.source import Source

    training.run(tiny_model, data, tmp_path / "run", adapter="qat", adapter_config={"bits": bits},
                 max_steps=2, lr=1e-2)  # fmt: skip
    final, out = tmp_path / "run" / "final", tmp_path / "model.gguf"
    GGUF().export(Source.open(final), out, quant=quant)

    tensors = {t.name: t for t in gguf.GGUFReader(out).tensors}
    trained = matrices(final)
    for ours, theirs in (("mlp.up_proj", "ffn_up"), ("self_attn.v_proj", "attn_v")):
        found = tensors[f"blk.1.{theirs}.weight"]
        assert found.tensor_type.name == quant.upper()
        back = gguf.quants.dequantize(found.data, found.tensor_type)
        assert torch.equal(torch.from_numpy(back), trained[f"model.layers.1.{ours}.weight"])


# What the matrix of all methods and adapters (tests/contracts) does not reach by small settings.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "wanda": ("pruning", {"method": "wanda", "every": 3}),
    "heads": (
        "pruning",
        {"method": "structured", "parts": "both", "importance": "first-order", "every": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_resumes_to_the_bit(
    case: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    name, config = CASES[case]
    settings = {"adapter": name, "adapter_config": config, "lr": 1e-3}

    whole = training.run(tiny_model, data, tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        training.run(tiny_model, data, tmp_path / "cut", emit=stop_after(4), **settings)
    stop_requested.clear()
    last = training.run(tiny_model, data, tmp_path / "cut", resume=True, **settings)

    assert last["weights_sha256"] == whole["weights_sha256"]
    assert last["resume_level"] == "exact"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 0.5),
        ({"sparsity": 0.3, "scope": "global"}, 0.3),
        ({"method": "wanda", "sparsity": 0.75}, 0.75),
        ({"pattern": "1:4"}, 0.75),
    ],
)
def test_the_sparsity_of_the_file_is_the_one_reported_and_wanted(
    config: dict[str, Any], expected: float, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    result = training.run(tiny_model, data, tmp_path / "run", adapter="pruning",
                          adapter_config=config, lr=1e-3)  # fmt: skip

    found = matrices(tmp_path / "run" / "final")
    zeros = sum(int((t == 0).sum()) for t in found.values())
    assert zeros / sum(t.numel() for t in found.values()) == pytest.approx(expected, abs=1e-4)
    assert result["sparsity"] == pytest.approx(expected, abs=1e-4)
    log = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["sparsity"] == result["sparsity"]


def test_sparsity_grows_by_the_schedule_and_what_is_gone_stays(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    training.run(tiny_model, data, tmp_path / "run", adapter="pruning", lr=1e-3,
                 adapter_config={"every": 1, "begin": 0.25, "end": 0.75})  # fmt: skip

    log = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    seen = [json.loads(line)["sparsity"] for line in log]
    cubic = [0.5 * (1 - (1 - p) ** 3) for p in (0, 0, 0.25, 0.5, 0.75, 1, 1, 1)]
    assert seen == pytest.approx(cubic, abs=1e-3)  # whole weights of small matrices


@pytest.mark.parametrize("parts", ["neurons", "heads"])
def test_a_structured_model_is_really_smaller_and_loads(
    parts: str, tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    training.run(tiny_model, data, tmp_path / "run", adapter="pruning", lr=1e-3,
                 adapter_config={"method": "structured", "parts": parts})  # fmt: skip

    final = tmp_path / "run" / "final"
    loaded = load_model(final, dtype="fp32", device="cpu")
    config = loaded.model.config
    shape = (config.intermediate_size, config.num_attention_heads, config.num_key_value_heads)
    assert shape == ((64, 4, 2) if parts == "neurons" else (128, 2, 1))
    sizes = [(f / "model.safetensors").stat().st_size for f in (final, tiny_model)]
    assert sizes[0] < sizes[1]
    assert loss(final, data, rounded=False) == pytest.approx(
        json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["loss"], rel=0.1
    )  # fmt: skip


def test_wanda_looks_at_the_inputs_and_magnitude_does_not(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    found = {}
    for method in ("magnitude", "wanda"):
        training.run(tiny_model, data, tmp_path / method, adapter="pruning", lr=0.0,
                     adapter_config={"method": method})  # fmt: skip
        found[method] = matrices(tmp_path / method / "final")

    name = "model.layers.1.mlp.down_proj.weight"
    base = matrices(tiny_model)[name].abs()
    assert bool(base[found["magnitude"][name] == 0].max() <= base[found["magnitude"][name] != 0].min())  # fmt: skip
    assert not torch.equal(found["wanda"][name] == 0, found["magnitude"][name] == 0)
    assert (found["wanda"][name] == 0).sum(1).unique().tolist() == [64]  # half of every row


@pytest.mark.parametrize(
    "config",
    [
        {"begin": 0.9, "end": 0.5},
        {"pattern": "4:4"},
        {"pattern": "2:4", "method": "structured"},
        {"sparsity": 1.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        registry("adapter").config_of("pruning")(**config)
