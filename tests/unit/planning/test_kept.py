"""What a layer is said to keep of a token, against the tensors that autograd really saves."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.families import saved
from tests.fakes.saved import learner, saved_bytes

from stead.config.kinds import registry
from stead.hub.inspect import inspect
from stead.planning.shape import shape

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LENGTH, ROWS = 128, 2
LLAMA = {
    "hidden_size": 96,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 224,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "qwen3": LLAMA | {"head_dim": 16},
    "gemma2": LLAMA | {"head_dim": 16, "query_pre_attn_scalar": 16},
    "phi3": LLAMA | {"num_key_value_heads": 6},
    "gpt2": {"n_embd": 96, "n_head": 6, "n_positions": 256},
}
ADAPTERS: dict[str, dict[str, Any]] = {
    "full": {"type": "full"},
    "lora": {"type": "lora", "r": 8, "dropout": 0.1},
    "lora of three": {"type": "lora", "r": 4, "dropout": 0.0, "target_modules": ("q_proj", "v_proj", "o_proj")},
    "dora": {"type": "lora", "r": 8, "dora": True},
    "qlora": {"type": "qlora", "r": 8, "dropout": 0.0},
    "adalora": {"type": "adalora"},
    "ia3": {"type": "ia3"},
    "prefix": {"type": "prefix"},
}  # fmt: skip


def make(kind: str, layers: int, base: Path, out: Path) -> Path:
    """Make a model of a family, with as many layers, over the tokenizer of another."""
    sizes = FAMILIES[kind] | {"n_layer" if kind == "gpt2" else "num_hidden_layers": layers}
    words = json.loads((base / "config.json").read_text())["vocab_size"]
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(kind, vocab_size=words, **special, **sizes)
    saved(config, base, out)
    return out


@pytest.fixture(scope="module")
def models(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], Path]:
    folder = tmp_path_factory.mktemp("families")
    return {(k, n): make(k, n, tiny_model, folder / f"{k}-{n}") for k in FAMILIES for n in (1, 3)}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_keeps_what_is_counted(
    family: str, adapter: str, dtype: str, models: dict[tuple[str, int], Path]
) -> None:
    """Two layers more keep twice as much more; norms' scales and the like are left out."""
    if adapter == "lora of three" and family in ("phi3", "gpt2"):
        pytest.skip("its layers have other names")
    found = {}
    for layers in (1, 3):
        with learner(models[family, layers], ADAPTERS[adapter], dtype) as opened:
            found[layers] = saved_bytes(opened, [LENGTH] * ROWS)
    measured = (found[3] - found[1]) / 2 / (LENGTH * ROWS)

    facts = inspect(models[family, 3], tokenizer=False)
    settings = registry("adapter").config_of(ADAPTERS[adapter]["type"])(**ADAPTERS[adapter])
    kept = shape(facts, settings, "cpu").kept
    width = 4 if dtype == "fp32" else 2
    counted = kept.numbers * width + kept.wide * 4 + kept.square * facts.heads * LENGTH
    # a prefix is laid before copies of keys and values, and its own tokens attend, too
    close = 0.17 if adapter == "prefix" else 0.07
    assert counted == pytest.approx(measured, rel=close)
