import json
import os
import pickle
import shutil

import pytest
from tests.fakes.models import (
    CONFIG,
    TENSORS,
    adapter_folder,
    gguf_file,
    model_folder,
    safetensors_bytes,
)

from stead.core.errors import ModelError, NotFound, SteadError, UnsafeError
from stead.hub import fetch, refs
from stead.hub.inspect import inspect, locate
from stead.hub.sources.local import Local


def code(kind, call, *arguments, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return caught.value.code


def test_a_model_folder_is_described_from_its_headers(tmp_path):
    folder = model_folder(tmp_path / "m")

    found = inspect(folder)

    assert (found.kind, found.architecture, found.family, found.dtype) == (
        "model",
        "LlamaForCausalLM",
        "llama",
        "fp32",
    )
    assert (found.vocab_size, found.hidden_size, found.layers, found.heads, found.kv_heads) == (
        300,
        8,
        1,
        2,
        1,
    )
    assert (found.intermediate_size, found.context_length, found.head_dim) == (16, 64, 4)
    assert found.parameters == 300 * 8 + 8
    assert (found.tied, found.has_tokenizer, found.has_template) == (True, True, True)
    assert found.size_bytes == (folder / "model.safetensors").stat().st_size
    assert found.config["rope_parameters"] == CONFIG["rope_parameters"]
    assert found.tensors["model.norm.weight"] == ("F32", (8,))
    assert json.dumps(found.to_dict())


def test_parameters_equal_the_librarys_count(tmp_path):
    import torch
    import transformers

    for tied in (True, False):
        config = transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
        )
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
        model.save_pretrained(tmp_path / str(tied))

        found = inspect(tmp_path / str(tied), tokenizer=False)

        assert found.parameters == model.num_parameters()
        assert found.dtype == "bf16"
        assert found.tied is tied


def test_a_gpt2_config_is_understood(tmp_path):
    config = {
        "model_type": "gpt2",
        "n_embd": 12,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 99,
        "vocab_size": 5,
    }

    found = inspect(model_folder(tmp_path / "m", config=config))

    assert (found.hidden_size, found.layers, found.heads, found.kv_heads, found.context_length) == (
        12,
        3,
        4,
        4,
        99,
    )
    assert found.architecture == "unknown"


def test_shards_are_one_table(tmp_path):
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "a.safetensors").write_bytes(safetensors_bytes({"x": ("F16", (2,))}))
    (folder / "b.safetensors").write_bytes(safetensors_bytes({"y": ("F16", (3,))}))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))

    assert set(inspect(folder).tensors) == {"x", "y"}

    for wrong, kind, expected in [
        ({"x": "a.safetensors", "y": "c.safetensors"}, ModelError, "missing-shard"),
        ({"x": "a.safetensors"} | {"z": "b.safetensors"}, ModelError, "bad-index"),
        (
            {"x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors"},
            ModelError,
            "bad-index",
        ),
        ({}, ModelError, "bad-index"),
        ({"x": "../a.safetensors"}, UnsafeError, "outside"),
        ({"x": "/etc/a.safetensors"}, UnsafeError, "outside"),
        ({"x": "a.bin"}, UnsafeError, "outside"),
        ({"x": ""}, UnsafeError, "outside"),
        ({"x": 3}, UnsafeError, "outside"),
    ]:
        index.write_text(json.dumps({"weight_map": wrong}))
        assert code(kind, inspect, folder) == expected


@pytest.mark.spec("000-094")
def test_code_loading_fields_are_dropped_and_named(tmp_path):
    config = CONFIG | {
        "auto_map": {"AutoModel": "evil/repo--modeling.Evil"}, "_attn_implementation_internal": "evil/repo",
        "custom_generate": "evil/repo", "trust_remote_code": True, "use_kernels": True, "attn_implementation": "evil/kernel",
        "_attn_implementation": "sdpa", "_name_or_path": "x", "text_config": {"auto_map": {}, "hidden_size": 4},
        "quantization_config": {"bits": 4, "kernel_config": "evil", "list": [{"auto_map": 1}]},
    }  # fmt: skip
    folder = model_folder(tmp_path / "m", config=config)
    (folder / "tokenizer_config.json").write_text('{"auto_map": {}, "bos_token": "<s>"}')

    found = inspect(folder)

    assert set(found.dropped) == {
        "auto_map", "_attn_implementation_internal", "custom_generate", "trust_remote_code", "use_kernels", "attn_implementation",
        "text_config.auto_map", "quantization_config.kernel_config", "quantization_config.list.auto_map", "tokenizer_config.auto_map",
    }  # fmt: skip
    assert "evil" not in json.dumps(found.config)
    assert found.config["quantization_config"] == {"bits": 4, "list": [{}]}
    assert found.hidden_size == 4


@pytest.mark.parametrize("field", ["hidden_size", "vocab_size", "num_hidden_layers"])
@pytest.mark.parametrize("value", ["8", True, -1, 1 << 31, 1 << 64, 8.0, [8]])
def test_a_number_that_is_none_is_refused_with_its_value(tmp_path, field, value):
    folder = model_folder(tmp_path / "m", config=CONFIG | {field: value})

    with pytest.raises(ModelError) as caught:
        inspect(folder)

    assert caught.value.code == "bad-config"
    assert f"{field} is {value!r}" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": 1e999}',
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        "\ufeff{}",
        '{"a":' * 99 + "1" + "}" * 99,
    ],
)
def test_a_config_that_is_no_json_object_is_refused(tmp_path, text):
    folder = model_folder(tmp_path / "m")
    (folder / "config.json").write_text(text)

    assert code(ModelError, inspect, folder) == "bad-json"


def test_a_config_of_endless_size_is_not_read(tmp_path):
    folder = model_folder(tmp_path / "m")
    os.truncate(folder / "config.json", 1 << 40)

    assert code(ModelError, inspect, folder) == "too-large"


def test_a_folder_that_lacks_something_is_refused_with_a_hint(tmp_path):
    bare = model_folder(tmp_path / "bare", tokenizer=False)
    no_weights = model_folder(tmp_path / "no_weights")
    (no_weights / "model.safetensors").unlink()
    no_config = model_folder(tmp_path / "no_config")
    (no_config / "config.json").unlink()
    several = model_folder(tmp_path / "several")
    shutil.copy(several / "model.safetensors", several / "a.safetensors")
    (several / "model.safetensors").rename(several / "b.safetensors")
    cut = model_folder(tmp_path / "cut")
    os.truncate(cut / "model.safetensors", 500)
    (tmp_path / "empty").mkdir()

    for folder, expected in [
        (bare, "no-tokenizer"),
        (no_weights, "no-weights"),
        (no_config, "no-config"),
        (several, "no-index"),
        (cut, "truncated"),
        (tmp_path / "empty", "not-a-model"),
    ]:
        with pytest.raises(ModelError) as caught:
            inspect(folder)
        assert caught.value.code == expected
        assert str(folder) in caught.value.message
    assert inspect(bare, tokenizer=False).has_tokenizer is False


class Canary:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model.pt",
        "model.pth",
        "model.ckpt",
        "training_args.bin",
        "model.safetensors",
    ],
)
def test_a_planted_pickle_is_refused_and_never_opened(tmp_path, name):
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))

    for path in (folder, folder / name):
        with pytest.raises(UnsafeError) as caught:
            inspect(path)
        assert caught.value.code == "pickle-refused"
        assert "safetensors" in caught.value.hint
    assert not (tmp_path / "canary").exists()


def test_pickles_alone_are_refused_also_without_a_config(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04.")

    assert code(UnsafeError, locate, tmp_path) == "pickle-refused"


def test_a_pickle_beside_safetensors_is_named_and_left_alone(tmp_path):
    folder = model_folder(tmp_path / "m")
    (folder / "training_args.bin").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))

    assert inspect(folder).ignored == ("training_args.bin",)
    assert not (tmp_path / "canary").exists()


def test_an_adapter_is_described_with_its_bases_shape(tmp_path):
    base = model_folder(tmp_path / "base")
    by_path = adapter_folder(tmp_path / "a", base)
    beside = adapter_folder(tmp_path / "b", "base", auto_mapping={"parent_library": "evil"})
    lost = adapter_folder(tmp_path / "c", "no/where")

    for folder in (by_path, beside):
        found = inspect(folder)
        assert (found.kind, found.hidden_size, found.parameters, found.has_tokenizer) == (
            "adapter",
            8,
            64,
            True,
        )
        assert found.base.resolve() == base.resolve()
    assert inspect(beside).dropped == ("auto_mapping",)
    assert inspect(lost).base is None
    assert inspect(lost).config["r"] == 4


def test_an_adapter_of_pickles_or_nothing_is_refused(tmp_path):
    folder = adapter_folder(tmp_path / "a")
    (folder / "adapter_model.safetensors").unlink()
    assert code(ModelError, inspect, folder) == "no-weights"

    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    assert code(UnsafeError, inspect, folder) == "pickle-refused"


def test_a_gguf_file_is_described(tmp_path):
    path = gguf_file(tmp_path / "m.gguf")

    for given in (path, tmp_path):
        found = inspect(given)
        assert (found.kind, found.path, found.architecture, found.family) == (
            "gguf",
            path,
            "LlamaForCausalLM",
            "llama",
        )
        assert (found.dtype, found.vocab_size, found.hidden_size, found.context_length) == (
            "q8_0",
            100,
            32,
            64,
        )
        assert (found.heads, found.kv_heads, found.head_dim, found.layers) == (2, 1, 16, 1)
        assert (found.has_tokenizer, found.has_template, found.tied) == (True, True, True)
        assert found.parameters == 100 * 32 + 32 + 4 * 64
        assert json.dumps(found.to_dict())


def test_the_hash_follows_the_content_and_not_the_place(tmp_path):
    one, two = model_folder(tmp_path / "one"), model_folder(tmp_path / "two")
    before = inspect(one).hash

    assert inspect(two).hash == before
    (two / "tokenizer.json").write_text('{"version": "2.0"}')
    assert inspect(two).hash != before
    (one / "README.md").write_text("x")
    assert inspect(one).hash == before


def test_hashes_are_remembered_until_the_file_changes(tmp_path, home):
    folder = model_folder(tmp_path / "m")
    first = inspect(folder).hash
    notes = list((home.cache / "system" / "hashes").glob("*.json"))
    assert len(notes) == 4
    for note in notes:
        note.write_text("{damaged")

    assert inspect(folder).hash == first
    status = (folder / "model.safetensors").stat()
    (folder / "model.safetensors").write_bytes(
        safetensors_bytes({k: ("BF16", v[1] + (2,)) for k, v in TENSORS.items()})
    )
    os.utime(folder / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert inspect(folder).hash != first


def test_a_run_folder_means_its_final_model(tmp_path):
    model_folder(tmp_path / "run" / "final")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "plan.json").write_text("{}")

    assert locate(tmp_path / "run") == tmp_path / "run" / "final"
    with pytest.raises(NotFound) as caught:
        locate(tmp_path / "unfinished")
    assert caught.value.code == "run-unfinished"
    assert "--resume" in caught.value.hint


def test_a_file_of_a_model_folder_means_the_folder(tmp_path):
    folder = model_folder(tmp_path / "m")

    assert locate(folder / "model.safetensors") == folder
    assert locate(folder / "config.json") == folder


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe")

    assert code(ModelError, locate, tmp_path / "x.txt") == "not-a-model"
    assert code(UnsafeError, locate, tmp_path / "pipe") == "not-regular"
    assert code(UnsafeError, locate, "/dev/zero") == "not-regular"


def test_an_unknown_name_names_the_near_ones(tmp_path, home):
    fetch.acquire(refs.parse(str(model_folder(tmp_path / "tickets"))), Local(home), home)

    assert locate("tickets") == tmp_path / "tickets"
    with pytest.raises(NotFound) as caught:
        locate("ticket")
    assert "did you mean 'tickets'" in caught.value.message
    assert code(NotFound, locate, "hf:org/none") == "unknown-model"


@pytest.mark.parametrize("text", ["", "a\0b", "ollama:llama3", "hf:a/b/c", "x" * 5000])
def test_a_ref_that_is_none_is_refused(text):
    with pytest.raises(SteadError) as caught:
        refs.parse(text)
    assert caught.value.code == "bad-ref"


@pytest.mark.parametrize(
    "text",
    ["hf:../b", "hf:a/b@../../x", "hf:a/..", "hf:a/b@x\n", "hf:a\\b/c", "hf:a/b--c", "hf:a/b@"],
)
def test_a_ref_that_leads_elsewhere_is_refused(text):
    with pytest.raises(UnsafeError):
        refs.parse(text)


def test_refs_are_read_and_written_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "here").mkdir(parents=True)

    assert refs.parse("hf:org/name@v1") == refs.Ref("huggingface", "org/name", "v1")
    assert refs.parse("org/name").text == "hf:org/name"
    assert refs.parse("org/here") == refs.Ref("local", str(tmp_path / "org" / "here"))
    assert refs.parse("file:x").name == str(tmp_path / "x")
    assert refs.parse("./x.gguf").source == "local"
    assert refs.parse("https://h.example/a/b.gguf").slug == "b.gguf"
    assert refs.parse("hf:org/name@v1").text == "hf:org/name@v1"


def test_a_gguf_file_that_says_little_is_described_by_its_tensors(tmp_path):
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(str(tmp_path / "bare.gguf"), "strange")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_tensor("x", np.zeros((4, 32), dtype=np.float16))
    writer.add_tensor("y", np.zeros(8, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    found = inspect(tmp_path / "bare.gguf")

    assert (found.architecture, found.family, found.dtype, found.vocab_size) == (
        "strange",
        "strange",
        "fp16",
        2,
    )
    assert (found.heads, found.head_dim, found.has_tokenizer) == (0, 0, False)


def test_a_stored_copy_of_a_tied_head_and_buffers_are_not_counted(tmp_path):
    tensors = TENSORS | {
        "lm_head.weight": ("F32", (300, 8)),
        "model.rotary_emb.inv_freq": ("F32", (4,)),
    }
    untold = {k: v for k, v in CONFIG.items() if k != "tie_word_embeddings"}

    assert inspect(model_folder(tmp_path / "tied", tensors=tensors)).parameters == 2408
    assert (
        inspect(model_folder(tmp_path / "not", tensors=tensors, config=untold)).parameters
        == 2408 + 2400
    )


def test_one_key_and_value_head_for_all_is_understood(tmp_path):
    config = {"model_type": "falcon", "hidden_size": 8, "n_head": 4, "multi_query": True}

    assert inspect(model_folder(tmp_path / "m", config=config)).kv_heads == 1
