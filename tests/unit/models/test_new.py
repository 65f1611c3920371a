import json
import os
import stat

import pytest

from stead.core import manifest
from stead.core.errors import ConfigError, DataError, NotFound, ResourceError
from stead.core.events import Note
from stead.hub.inspect import inspect
from stead.models import corpus
from stead.models.new import new_model
from stead.models.presets import LEAST_VOCAB, PRESETS, SPECIAL, sizes

SMALL = {
    "preset": "nano",
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "kv_heads": 1,
    "intermediate": 24,
    "context": 32,
    "vocab_size": 300,
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEAD_HOME", str(tmp_path / "home"))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(
        "".join(f"the quick brown fox {i} jumps over the lazy dog\n" for i in range(200))
    )
    return str(path)


def test_a_new_model_is_a_whole_verified_folder(tmp_path, text):
    facts = new_model(str(tmp_path / "m"), text=[text], **SMALL)

    info = inspect(tmp_path / "m")
    assert facts["parameters"] == info.parameters
    assert facts["hash"] == manifest.verify(tmp_path / "m", "model").hash
    assert (info.architecture, info.tied, info.has_template, info.dtype) == (
        "LlamaForCausalLM",
        True,
        True,
        "fp32",
    )
    assert (info.hidden_size, info.layers, info.heads, info.kv_heads, info.context_length) == (
        16,
        1,
        2,
        1,
        32,
    )
    assert info.vocab_size == facts["vocab_size"] == 300
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= set(
        os.listdir(tmp_path / "m")
    )


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path, text):
    import torch

    one = new_model(str(tmp_path / "one"), text=[text], seed=1, **SMALL)
    torch.rand(5)
    two = new_model(str(tmp_path / "two"), text=[text], seed=1, **SMALL)
    other = new_model(str(tmp_path / "other"), text=[text], seed=2, **SMALL)

    assert one["hash"] == two["hash"] != other["hash"]
    assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (
        tmp_path / "other" / "tokenizer.json"
    ).read_bytes()


def test_making_a_model_leaves_the_global_randomness_alone(tmp_path, text):
    import torch

    before = torch.random.get_rng_state()

    new_model(str(tmp_path / "m"), text=[text], **SMALL)

    assert torch.equal(before, torch.random.get_rng_state())


def test_the_tokenizer_writes_any_bytes_and_knows_the_special_tokens(tmp_path, text):
    import transformers

    new_model(str(tmp_path / "m"), text=[text], **SMALL)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")

    for sample in ("naïve 日本 🙂\0\x7f", "the quick brown fox", " \n\t  x"):
        ids = tokenizer.encode(sample)
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == sample
        assert max(ids) < 300
    assert [tokenizer.convert_tokens_to_ids(t) for t in SPECIAL] == [0, 1, 2, 3, 4]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<s>",
        "<|im_end|>",
        "<pad>",
    )


def test_the_template_marks_what_the_assistant_says(tmp_path, text):
    import transformers

    new_model(str(tmp_path / "m"), text=[text], **SMALL)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]

    found = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)

    trained = [i for i, m in zip(found["input_ids"], found["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(trained) == "yes<|im_end|>"
    assert (
        tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
        == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_template_keeps_tools_and_tool_calls(tmp_path, text):
    import transformers

    new_model(str(tmp_path / "m"), text=[text], **SMALL)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    chat = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2"},
    ]

    found = tokenizer.apply_chat_template(chat, tools=[{"name": "add"}], tokenize=False)

    assert found == (
        '<|im_start|>system\nTools:\n{"name": "add"}\n<|im_end|>\n'
        '<|im_start|>assistant\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call><|im_end|>\n'
        "<|im_start|>tool\n2<|im_end|>\n"
    )


def test_the_model_starts_near_the_uniform_loss(tmp_path, text):
    import math

    import torch
    import transformers

    new_model(str(tmp_path / "m"), text=[text], dtype="bf16", **SMALL)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    ids = torch.arange(30)[None]

    loss = model(input_ids=ids, labels=ids).loss.item()

    assert inspect(tmp_path / "m").dtype == "bf16"
    assert abs(loss - math.log(300)) < 0.1  # weights of deviation 0.02 hardly prefer a token


def test_a_text_too_small_for_the_vocabulary_is_noted(tmp_path):
    (tmp_path / "a.txt").write_text("ab")
    told = []

    facts = new_model(
        str(tmp_path / "m"), text=[str(tmp_path / "a.txt")], emit=told.append, **SMALL
    )

    assert facts["vocab_size"] < 300
    assert [e.code for e in told if isinstance(e, Note)] == ["small-vocabulary"]


def test_an_empty_folder_is_used_and_a_full_one_refused(tmp_path, text):
    (tmp_path / "m").mkdir()
    new_model(str(tmp_path / "m"), text=[text], **SMALL)

    with pytest.raises(ConfigError) as caught:
        new_model(str(tmp_path / "m"), text=[text], **SMALL)

    assert caught.value.code == "out-not-empty"


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"preset": "giant"}, ConfigError, "unknown-preset"),
        ({"hidden": 15}, ConfigError, "bad-size"),
        ({"hidden": 6}, ConfigError, "bad-size"),
        ({"heads": 0}, ConfigError, "bad-size"),
        ({"layers": -1}, ConfigError, "bad-size"),
        ({"heads": 4, "kv_heads": 3}, ConfigError, "bad-size"),
        ({"vocab_size": LEAST_VOCAB - 1}, ConfigError, "vocab-too-small"),
        ({"dtype": "int3"}, ConfigError, "unknown-dtype"),
        ({"text": []}, DataError, "no-text"),
        ({"text": ["/none.txt"]}, NotFound, "no-file"),
    ],
)
def test_bad_input_is_a_typed_error_and_leaves_nothing(tmp_path, text, changes, kind, code):
    with pytest.raises(kind) as caught:
        new_model(str(tmp_path / "m"), **({"text": [text]} | SMALL | changes))

    assert caught.value.code == code
    assert not (tmp_path / "m").exists()


def test_a_full_disk_leaves_nothing(tmp_path, text, monkeypatch):
    import errno

    import transformers

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "save_pretrained", full)

    with pytest.raises(ResourceError):
        new_model(str(tmp_path / "m"), text=[text], **SMALL)

    assert sorted(os.listdir(tmp_path)) == ["words.txt"]


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("nano", 0.5), ("tiny", 4.2), ("mini", 12.0), ("small", 41.6), ("base", 109.5)],
)
def test_presets_have_the_size_they_say(preset, millions):
    s = PRESETS[preset]
    head = s.hidden // s.heads
    layer = (
        2 * s.hidden**2
        + 2 * s.hidden * head * s.kv_heads
        + 3 * s.hidden * s.intermediate
        + 2 * s.hidden
    )
    count = s.vocab * s.hidden + s.layers * layer + s.hidden

    assert count / 1e6 == pytest.approx(millions, rel=0.05)
    assert sizes(preset, {"layers": None}) == s


def test_text_is_taken_from_each_kind_of_file(tmp_path):
    (tmp_path / "a.txt").write_text("plain\n")
    (tmp_path / "b.jsonl").write_text('{"q": "ask", "n": 3}\n\n["x", {"y": "z"}]\n')
    (tmp_path / "c.json").write_text('[{"deep": ["er"]}, null]')
    (tmp_path / "d.txt").write_text("x" * 200_000)

    blocks = list(corpus.texts([tmp_path / n for n in ("a.txt", "b.jsonl", "c.json", "d.txt")]))

    assert blocks == ["plain\n", "ask\nx\nz\n", "er\n", "x" * 200_000]


@pytest.mark.parametrize(
    ("name", "data", "code", "where"),
    [
        ("a.jsonl", b'{"a": "b"}\n{broken\n', "bad-json", "a.jsonl:2"),
        ("a.json", b"{", "bad-json", "a.json:1"),
        ("a.txt", b"good\n\xff\xfe\n", "not-utf8", "a.txt:"),
    ],
)
def test_a_broken_text_file_is_named_with_its_line(tmp_path, name, data, code, where):
    (tmp_path / name).write_bytes(data)

    with pytest.raises(DataError) as caught:
        list(corpus.texts([tmp_path / name]))

    assert caught.value.code == code
    assert where in caught.value.message


def test_files_of_the_model_are_readable_by_others(tmp_path, text):
    new_model(str(tmp_path / "m"), text=[text], **SMALL)

    modes = {
        stat.S_IMODE((tmp_path / "m" / n).stat().st_mode) & 0o444
        for n in os.listdir(tmp_path / "m")
    }
    assert modes == {0o444}
    assert json.loads((tmp_path / "m" / "generation_config.json").read_text())["eos_token_id"] == 4
