"""A merged model answers as PEFT's unmerged one does."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from stead.core.errors import CheckpointError, ModelError
from stead.exporting.source import Source
from stead.models import deltas, merge

CASES = {
    "plain": {},
    "rslora": {"use_rslora": True, "r": 8},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 3}},
    "all-linear": {"target_modules": "all-linear"},
    "dora": {"use_dora": True},
    "saved head": {"modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "trained biases": {"bias": "lora_only"},
}


def _logits(folder: Path, adapter: Path | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
        with torch.no_grad():
            return model.eval()(torch.arange(5, 45)[None]).logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_merged_weights_give_the_logits_of_the_unmerged_adapter(
    name: str, tied: bool, make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    base = make_model(tie_word_embeddings=tied, attention_bias=name == "trained biases")
    adapter = make_adapter(base, **CASES[name])

    merge.merge(base, adapter, tmp_path / "out")

    gap = (_logits(tmp_path / "out") - _logits(base, adapter)).abs().max().item()
    assert gap <= 1e-4 * 1.0, gap  # logits of ±60; a float32 ulp there is 4e-6


def test_logits_of_a_merge_are_within_1e_5_for_ordinary_weights(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    base = make_model(initializer_range=0.02)
    adapter = make_adapter(base)

    merge.merge(base, adapter, tmp_path / "out")

    gap = (_logits(tmp_path / "out") - _logits(base, adapter)).abs().max().item()
    assert gap <= 1e-5


def test_a_merge_keeps_the_type_of_its_base(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    base = make_model(dtype="bfloat16")

    merge.merge(base, make_adapter(base), tmp_path / "out")

    made = Source.open(tmp_path / "out")
    assert {made.tensors().dtype(n) for n in made.tensors().names()} == {"BF16"}
    assert made.config["dtype"] == "bfloat16"


@pytest.mark.spec("000-023")
def test_a_merge_into_another_base_is_refused(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    right, wrong = make_model(), make_model(seed=7)
    adapter = make_adapter(right)
    (adapter / "stead.json").write_text(json.dumps({"base_hash": Source.open(right).hash}))

    with pytest.raises(ModelError) as caught:
        merge.merge(wrong, adapter, tmp_path / "out")

    assert caught.value.code == "wrong-base"
    assert not (tmp_path / "out").exists()
    merge.merge(right, adapter, tmp_path / "out")


def test_a_merge_into_a_quantized_base_is_refused(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    base = make_model()
    adapter = make_adapter(base)
    quantized = tmp_path / "quantized"
    shutil.copytree(base, quantized)
    config = json.loads((quantized / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (quantized / "config.json").write_text(json.dumps(config))

    with pytest.raises(ModelError, match="bitsandbytes") as caught:
        merge.merge(quantized, adapter, tmp_path / "out")

    assert caught.value.code == "base-quantized"


def test_shapes_that_do_not_fit_are_refused_with_both_values(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    adapter = make_adapter(make_model())
    wide = make_model(hidden_size=128)

    with pytest.raises(ModelError, match=r"\[64, 4\]|\[4, 64\]") as caught:
        merge.merge(wide, adapter, tmp_path / "out")

    assert caught.value.code == "adapter-shape"


def test_a_rank_that_the_tensors_do_not_have_is_refused(
    make_model: Any, make_adapter: Any, tmp_path: Path
) -> None:
    base = make_model()
    adapter = make_adapter(base)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": 8}))

    with pytest.raises(ModelError) as caught:
        merge.merge(base, adapter, tmp_path / "out")

    assert caught.value.code == "adapter-shape"


def test_a_missing_base_is_named(make_model: Any, make_adapter: Any) -> None:
    adapter = make_adapter(make_model())
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/gone/model"
    (adapter / "adapter_config.json").write_text(json.dumps(config))

    with pytest.raises(ModelError, match="/gone/model") as caught:
        Source.open(adapter)

    assert caught.value.code == "missing-base"


def test_a_merge_never_overwrites(make_model: Any, make_adapter: Any, tmp_path: Path) -> None:
    base = make_model()
    (tmp_path / "out").mkdir()

    with pytest.raises(CheckpointError):
        merge.merge(base, make_adapter(base), tmp_path / "out")


def test_an_adapter_that_is_no_lora_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "PREFIX_TUNING"}')

    with pytest.raises(ModelError, match="PREFIX_TUNING"):
        deltas.Adapter.open(tmp_path)
