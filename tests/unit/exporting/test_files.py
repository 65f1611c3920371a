"""The writers' own arithmetic: blocks, recipe, file layout, templates, pre-tokenizers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize

from stead.core.errors import ConfigError, ExportError, MissingDependency, ModelError, ResourceError
from stead.data.template import ChatTemplate
from stead.exporting import conversations, families, ggml, gguf_file, pretokenizer, recipe, space
from stead.exporting.gguf_file import U32, TensorPlan
from stead.exporting.template import without_markers
from stead.models import weights

ROWS = np.random.default_rng(0).normal(size=(8, 512)).astype(np.float32)


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_0", "Q8_0"])
def test_blocks_are_bit_equal_to_the_reference_in_numpy(kind: str) -> None:
    expected = quantize(ROWS, GGMLQuantizationType[kind]).tobytes()

    assert ggml.quantize(ROWS, kind) == expected


@pytest.mark.parametrize(("kind", "bound"), [("Q4_K", 0.09), ("Q5_K", 0.045), ("Q6_K", 0.025)])
def test_k_blocks_come_back_within_their_step(kind: str, bound: float) -> None:
    raw = np.frombuffer(ggml.quantize(ROWS, kind), np.uint8).reshape(8, -1)

    error = np.sqrt(np.mean((dequantize(raw, GGMLQuantizationType[kind]) - ROWS) ** 2))

    assert 0 < error < bound  # measured 0.07, 0.035, 0.018 for a unit normal


def test_rows_that_fill_no_block_and_nan_are_refused() -> None:
    with pytest.raises(ExportError, match="100"):
        ggml.quantize(np.zeros((2, 100), np.float32), "Q8_0")
    with pytest.raises(ExportError, match="NaN"):
        ggml.quantize(np.full((1, 32), np.nan, np.float32), "Q8_0")


def test_without_the_wheel_the_error_is_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])

    with pytest.raises(MissingDependency) as caught:
        ggml.library_path()

    assert caught.value.hint == "pip install 'stead[local]'"


def test_q4_k_m_gives_more_bits_to_the_layers_llama_cpp_gives_them() -> None:
    rules = recipe.Recipe("q4_K_M", layers=32, tied=False)

    better = [
        i for i in range(32) if rules.kind(f"blk.{i}.ffn_down.weight", (4096, 11008)) == "Q6_K"
    ]

    # llama-quantize prints these for a 7B: the first and last four, and every third between.
    assert better == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    assert rules.kind("output.weight", (32000, 4096)) == "Q6_K"
    assert rules.kind("token_embd.weight", (32000, 4096)) == "Q4_K"
    assert rules.kind("blk.0.attn_q.weight", (4096, 4096)) == "Q4_K"
    assert rules.kind("blk.0.attn_norm.weight", (4096,)) == "F32"


def test_rows_that_fill_no_big_block_fall_back_as_llama_cpp_does() -> None:
    rules = recipe.Recipe("q4_K_M", layers=2, tied=True)

    assert rules.kind("blk.0.attn_q.weight", (64, 64)) == "Q5_0"
    assert rules.kind("token_embd.weight", (320, 64)) == "Q8_0"
    assert rules.kind("blk.0.attn_q.weight", (64, 40)) == "F16"


def test_quantization_names_take_any_case_and_list_the_known() -> None:
    assert recipe.canonical("Q4_K_M") == "q4_K_M"
    with pytest.raises(ConfigError, match="q8_0"):
        recipe.canonical("q7")


def test_a_written_file_reads_back_in_the_format_authors_library(tmp_path: Path) -> None:
    plans = [TensorPlan("a", "F32", (3, 5)), TensorPlan("b", "Q8_0", (2, 32))]
    meta: dict[str, Any] = {
        "general.architecture": "llama", "n": U32(7), "yes": True, "x": 0.5,
        "words": ["ä", ""], "ids": [1, -2], "scores": [0.25, -1.0],
    }  # fmt: skip
    one = np.arange(15, dtype=np.float32).reshape(3, 5)
    two = np.ones((2, 32), np.float32)

    with (tmp_path / "t.gguf").open("wb") as file:
        gguf_file.write(file, meta, plans, [one.tobytes(), ggml.quantize(two, "Q8_0")])

    assert (tmp_path / "t.gguf").stat().st_size == gguf_file.size_bytes(meta, plans)
    reader = GGUFReader(tmp_path / "t.gguf")
    found = {t.name: t for t in reader.tensors}
    assert (found["a"].data == one).all()
    assert np.allclose(dequantize(found["b"].data, GGMLQuantizationType.Q8_0), two, atol=1e-3)
    assert {k: reader.fields[k].contents() for k in meta} == meta


def test_a_tensor_that_does_not_fit_its_plan_is_never_written_whole(tmp_path: Path) -> None:
    with (tmp_path / "t").open("wb") as file, pytest.raises(ValueError, match="gave 4 bytes"):
        gguf_file.write(file, {"a": "b"}, [TensorPlan("a", "F32", (3,))], [b"1234"])


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_half_floats_round_as_torch_rounds(dtype: str) -> None:
    import torch

    edge = np.array(
        [0, -0.0, 1e-40, 6e-8, np.inf, -np.inf, np.nan, 1.00390625, 1.01171875], np.float32
    )
    values = np.concatenate([edge, ROWS.reshape(-1)])
    kind = torch.bfloat16 if dtype == "BF16" else torch.float16

    again = weights.decode(weights.encode(values, dtype), dtype)

    assert np.array_equal(again, torch.from_numpy(values).to(kind).float().numpy(), equal_nan=True)


def test_a_value_that_float16_cannot_hold_is_refused_not_made_infinite() -> None:
    with pytest.raises(ModelError, match="70000"):
        weights.encode(np.array([70000.0], np.float32), "F16")


@pytest.mark.parametrize(
    "damage", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{}more"]
)
def test_damaged_safetensors_are_typed_errors(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(damage)

    with pytest.raises(ModelError) as caught:
        weights.read_file(tmp_path / "x.safetensors")

    assert caught.value.code in ("bad-safetensors", "truncated")


@pytest.mark.parametrize("marks", [("", ""), ("-", ""), ("", "-"), ("-", "-")])
def test_a_template_without_markers_renders_the_same_bytes(marks: tuple[str, str]) -> None:
    left, right = marks
    source = (
        "{% for m in messages %}\n{{ m.role }}:\n"
        f"  {{%{left} generation {right}%}}\n  {{{{ m.content }}}} \n {{%{left} endgeneration {right}%}} \n"
        "{% endfor %}"
    )
    plain = without_markers(source)

    assert "generation" not in plain
    for one in conversations.built_in(12):
        assert ChatTemplate(plain).render(one.messages) == ChatTemplate(source).render(one.messages)


def _tokenizer(pre: dict[str, Any] | None, *, whole: bool = False) -> dict[str, Any]:
    return {"pre_tokenizer": pre, "model": {"ignore_merges": whole}}


@pytest.mark.parametrize("name", pretokenizer.KNOWN)
def test_each_known_pre_tokenizer_is_found_by_what_it_does(name: str) -> None:
    definition, whole = pretokenizer.KNOWN[name]

    assert pretokenizer.name_of(_tokenizer(definition, whole=whole)) == name


def test_an_unknown_pre_tokenizer_is_refused_rather_than_guessed() -> None:
    other = {"type": "Split", "pattern": {"Regex": r"\w+"}, "behavior": "Isolated", "invert": False}

    for given in (None, other, {"type": "Whitespace"}):
        with pytest.raises(ExportError) as caught:
            pretokenizer.name_of(_tokenizer(given))
        assert caught.value.code == "unknown-pretokenizer"
    with pytest.raises(ExportError, match="ignore_merges=True"):
        pretokenizer.name_of(_tokenizer(pretokenizer.KNOWN["gpt-2"][0], whole=True))


LLAMA3 = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192, "rope_theta": 500000.0,
}  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "num_attention_heads": 32, "hidden_size": 2048,
    "num_hidden_layers": 16, "num_key_value_heads": 8, "intermediate_size": 8192, "rms_norm_eps": 1e-5,
    "vocab_size": 128256, "max_position_embeddings": 131072, "rope_parameters": LLAMA3,
}  # fmt: skip


def test_llama_3_rope_factors_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig(**CONFIG), "cpu")
    plain = 1.0 / 500000.0 ** (np.arange(0, 64, 2) / 64)

    factors = families.Family.read(CONFIG).rope_factors()

    assert factors is not None
    assert np.allclose(plain / factors, scaled.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
        {"partial_rotary_factor": 0.5},
        {"architectures": ["MixtralForCausalLM"]},
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ExportError):
        families.Family.read(CONFIG | change)


def test_a_tensor_without_a_place_is_refused_not_dropped() -> None:
    family = families.Family.read(CONFIG)

    with pytest.raises(ExportError, match="router"):
        family.tensor_name("model.layers.0.mlp.router.weight")


def test_a_sliding_window_shortens_the_context_and_says_so() -> None:
    family = families.Family.read(CONFIG | {"sliding_window": 4096})

    assert family.context == 4096
    assert "4096" in family.notes[0]


def test_a_disk_without_room_is_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="free") as caught:
        space.check(tmp_path / "deep" / "out.gguf", 1 << 60)

    assert caught.value.code == "disk-full"
    assert list(tmp_path.iterdir()) == []


def test_built_in_conversations_are_the_same_each_time_and_varied() -> None:
    found = conversations.built_in(24, with_tools=True)

    assert found == conversations.built_in(24, with_tools=True)
    roles = {m.role for c in found for m in c.messages}
    assert roles == {"system", "user", "assistant", "tool"}
    assert any(c.is_open for c in found)
    assert any(not c.is_open for c in found)
    assert (
        json.dumps([m.text for c in found for m in c.messages], ensure_ascii=False).isascii()
        is False
    )
