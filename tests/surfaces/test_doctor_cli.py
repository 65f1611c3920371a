"""`stead doctor` tells a healthy installation from a broken one, by its exit status too."""

import json

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEAD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_sound_installation_has_no_failed_check(stead):
    status, out, error = stead("doctor", "--json")
    told = json.loads(out)
    assert (status, told["ok"]) == (0, True), error
    assert {"python", "data directory", "database", "disk"} <= {c["check"] for c in told["checks"]}


def test_a_broken_setting_is_named_with_its_place_and_ends_in_status_1(stead, home):
    home.mkdir(mode=0o700)
    (home / "config.yaml").write_text("databse_url: sqlite:///x\n")
    status, out, _ = stead("doctor")
    assert status == 1
    line = next(x for x in out.splitlines() if x.startswith("FAIL"))
    assert "settings" in line
    assert "databse_url" in line


@pytest.mark.parametrize(
    "command", [("model", "show"), ("plan", "--data", "rows.jsonl", "--method", "sft", "--model")]
)
def test_whatever_makes_the_data_directory_first_shuts_it_from_others(
    stead, home, tiny_model, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    row = json.dumps({"instruction": "What is one?", "output": "one"}) + "\n"
    (tmp_path / "rows.jsonl").write_text(row * 12)
    status, _, error = stead(*command, tiny_model)
    assert status == 0, error
    assert home.stat().st_mode & 0o777 == 0o700
