"""`stead data` as a user runs it: exit status, JSON as the last line, nothing harmful on the screen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stead.cli.main import run


@pytest.fixture
def stead(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STEAD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as done:
            run(["data", *arguments])
        output = capsys.readouterr()
        assert (done.value.code or 0) == code, output.err
        return output.out

    return call


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": f"question {i}?", "completion": f"answer {i}"} for i in range(12)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    specials = ["</s>", "<|im_start|>", "<|im_end|>"]
    vocab = {t: i for i, t in enumerate([*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    (folder / "config.json").write_text(
        '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'
    )
    return str(folder)


def last_json(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


def test_inspect_explains_reader_and_format(stead, file):
    text = stead("inspect", file)
    found = last_json(stead("inspect", file, "--json"))

    assert "one JSON object per line" in text
    assert "columns 'prompt' and 'completion'" in text
    assert found["formats"][0]["name"] == "pairs"
    assert found["statistics"]["turns_total"] == 24
    assert len(found["first_rows"]) == 2


@pytest.mark.spec("002-024")
def test_validate_names_every_bad_row_and_exits_2(stead, file, tmp_path):
    bad = tmp_path / "bad.jsonl"
    broken = "\n".join(['{"prompt": "q", "completion": ""}'] * 30)
    bad.write_text(Path(file).read_text() + "\n" + broken)

    found = last_json(stead("validate", str(bad), "--json", code=2))

    assert not found["valid"]
    assert [one["where"] for one in found["examples"]] == [f"bad.jsonl:{i}" for i in range(13, 43)]
    assert last_json(stead("validate", file, "--json"))["valid"]
    assert last_json(stead("validate", str(bad), "--allow", "30", "--json"))["valid"]
    assert "at least 13 are needed" in stead("validate", file, "--min-rows", "13", code=2)


def test_show_marks_exactly_what_is_trained(stead, file, model):
    text = stead("show", file, "--model", model, "--mask", "--rows", "1")
    found = last_json(stead("show", file, "--model", model, "--mask", "--rows", "1", "--json"))

    assert "<|im_start|>assistant\n⟦answer 0<|im_end|>⟧" in text
    pieces = found["rows"][0]["columns"][0]["pieces"]
    assert [p["text"] for p in pieces if p["trained"]] == ["answer 0<|im_end|>"]
    assert "⟦" not in stead("show", file, "--model", model, "--rows", "1")


def test_prepare_writes_a_folder_once(stead, file, model, tmp_path):
    arguments = ("prepare", file, "--model", model, "--out", str(tmp_path / "out"), "--json")

    first, again = last_json(stead(*arguments)), last_json(stead(*arguments))

    assert first["splits"] == {"train": 11, "eval": 1}
    assert first["path"] == again["path"]
    assert Path(first["path"], "manifest.json").is_file()


def test_formats_lists_each_with_an_example(stead):
    found = last_json(stead("formats", "--json"))

    assert {"alpaca", "sharegpt", "preference"} <= {one["name"] for one in found["formats"]}
    assert all(one["example"] and one["about"] for one in found["formats"])


@pytest.mark.spec("000-086")
@pytest.mark.parametrize(
    ("content", "code"),
    [("", "empty-file"), ('{"n": 1}\n{"n": 2}', "no-text-columns"), ("[", "bad-json")],
)
def test_bad_input_is_a_typed_error_with_exit_2(stead, tmp_path, content, code):
    path = tmp_path / ("a.json" if content == "[" else "a.jsonl")
    path.write_text(content)

    found = last_json(stead("inspect", str(path), "--json", code=2))

    assert found["error"]["code"] == code


def test_cells_cannot_command_the_terminal(stead, tmp_path):
    path = tmp_path / "a.jsonl"
    row = {"prompt": "\x1b[2Jq\x07", "completion": "\x1b]0;title\x07a\x9b31m"}
    path.write_text(json.dumps(row))

    text = stead("inspect", str(path))

    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert "␛[2Jq␇" in text


def test_inspecting_loads_no_heavy_library(file):
    code = (
        "import sys\nfrom stead.cli.main import run\n"
        f"try:\n    run(['data', 'inspect', {file!r}])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pyarrow', 'tokenizers'} & set(sys.modules)\n"
        "sys.stderr.write(repr(sorted(heavy)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stderr == "[]"
