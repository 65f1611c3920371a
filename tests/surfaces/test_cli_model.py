import json
import os

import huggingface_hub.constants
import pytest
from tests.fakes import hub_server
from tests.fakes.models import CONFIG, gguf_file, model_folder

from stead.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("STEAD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # loopback only
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stead(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            run(["model", *map(str, arguments)])
        out, err = capsys.readouterr()
        status = ended.value.code
        return (0 if status is None else status), out, err

    return call


def last(out):
    return json.loads(out.splitlines()[-1])


def test_add_list_show_verify_remove_as_people_type_them(stead, tmp_path):
    model_folder(tmp_path / "m", config=CONFIG | {"auto_map": {"AutoModel": "evil/x"}})

    assert stead("add", tmp_path / "m", "--name", "mine", "-q") == (
        0, "added mine: model, LlamaForCausalLM, 2,408 parameters, fp32\n", "not used from its configuration: auto_map\n",
    )  # fmt: skip
    assert "mine" in stead("list")[1]
    shown = stead("show", "mine", "--tensors")[1]
    assert "LlamaForCausalLM" in shown
    assert "model.norm.weight" in shown
    assert stead("verify") == (0, "4 files checked, 0 wrong\n", "")
    status, out, _ = stead("remove", "mine")
    assert (status, out) == (0, f"removed mine, 0 bytes freed; {tmp_path / 'm'} stays\n")


def test_json_is_one_object_as_the_last_line(stead, tmp_path):
    model_folder(tmp_path / "m")

    added = last(stead("add", tmp_path / "m", "--json", "--quiet")[1])
    listed = last(stead("list", "--json")[1])
    shown = last(stead("show", "m", "--json")[1])
    tensors = last(stead("show", "m", "--json", "--tensors")[1])
    verified = last(stead("verify", "m", "--json")[1])
    found = last(stead("discover", tmp_path / "m", "--json")[1])
    removed = last(stead("remove", "m", "--json")[1])

    assert added["name"] == "m"
    assert added["model"]["hidden_size"] == 8
    assert [m["name"] for m in listed["models"]] == ["m"]
    assert (shown["parameters"], shown["tensors"], shown["has_template"]) == (2408, 2, True)
    assert tensors["tensors"]["model.norm.weight"] == {"dtype": "F32", "shape": [8]}
    assert verified["ok"] is True
    assert [(m["name"], m["kind"]) for m in found["models"]] == [("m", "model")]
    assert removed == {"name": "m", "freed_bytes": 0, "kept": str(tmp_path / "m")}


def test_verify_ends_with_1_and_names_the_file_and_both_hashes(stead, tmp_path):
    folder = model_folder(tmp_path / "m")
    stead("add", folder, "-q")
    (folder / "tokenizer.json").write_text("{}")

    status, out, err = stead("verify", "--json")

    (wrong,) = last(out)["problems"]
    assert status == 1
    assert str(folder / "tokenizer.json") in err
    assert wrong["found"] in err
    assert wrong["expected"] in err


@pytest.mark.spec("000-086", "003-025")
def test_bad_input_ends_with_2_a_message_and_a_hint(stead, tmp_path):
    (tmp_path / "evil.bin").write_bytes(b"\x80\x04.")
    os.mkdir(tmp_path / "empty")

    for arguments, code in [
        (("show", "none"), "unknown-model"),
        (("add", tmp_path / "evil.bin"), "pickle-refused"),
        (("show", tmp_path / "empty"), "not-a-model"),
        (("new", tmp_path / "m"), "no-text"),
        (("pull",), "nothing-named"),
    ]:
        status, out, err = stead(*arguments, "--json")
        assert status == 2
        assert err.startswith("error: ")
        assert "hint: " in err
        assert "Traceback" not in err
        assert last(out)["error"]["code"] == code


def test_a_gguf_file_is_shown_without_being_added(stead, tmp_path):
    gguf_file(tmp_path / "q.gguf")

    assert last(stead("show", tmp_path / "q.gguf", "--json")[1])["dtype"] == "q8_0"


@pytest.mark.spec("001-003")
def test_a_model_is_searched_pulled_and_found_offline(stead, tmp_path, monkeypatch):
    files = {p.name: p.read_bytes() for p in model_folder(tmp_path / "m").iterdir()}
    with hub_server.serving() as hub:
        hub.add("org/tiny", files)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert "org/tiny" in stead("search", "tiny")[1]
        assert last(stead("search", "tiny", "--json")[1])["models"][0]["name"] == "org/tiny"
        assert stead("pull", "hf:org/tiny", "-q")[0] == 0
        assert last(stead("pull", "--all", "--json", "-q")[1])["models"][0]["name"] == "org/tiny"
    status, out, _ = stead("add", "hf:org/tiny", "--offline", "--json", "-q")

    assert status == 0
    assert last(out)["model"]["hidden_size"] == 8
    assert stead("add", "hf:org/none", "--offline", "-q")[0] == 2
    assert "folder" not in stead("list")[1]
    assert "hub-cache" in stead("discover")[1]


def test_new_takes_texts_after_the_option_and_after_the_folder(stead, tmp_path, monkeypatch):
    from stead.app import models

    asked = []
    monkeypatch.setattr(
        models,
        "new",
        lambda out, spec, **options: (
            asked.append((spec["text"], options["pretraining"]))
            or {"out": str(out), "parameters": 7}
        ),
    )

    status, out, _ = stead("new", "m", "--text", "a", "b", "c", "--pretrain-tokens", "1000", "-q")
    stead("new", "m", "--text", "a", "--text", "b", "--json", "-q")

    assert (status, out) == (0, "m: 7 parameters\n")
    assert asked[0] == (["a", "b", "c"], models.Pretraining(1000, seed=42))
    assert asked[1] == (["a", "b"], None)
