"""One request, several faces: the command line, a recipe in each format and Python plan the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stead.app.plans import make_plan
from stead.cli.plan_view import render
from stead.config import load
from stead.core.errors import ConfigError
from stead.planning.plan import Plan


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [{"question": f"what is {i} plus {i}?", "answer": f"it is {2 * i}"} for i in range(60)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def stead(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "stead", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture
def asked(tiny_model: Path, rows: Path) -> dict[str, Any]:
    return {
        "model": {"path": str(tiny_model)},
        "data": {"path": str(rows), "limit": 40},
        "trainer": {"lr": 1e-4},
        "method": "sft",
        "adapter": "lora",
    }


@pytest.mark.spec("003-058")
def test_equal_requests_plan_the_same(
    asked: dict[str, Any], tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    load.dump(tmp_path / "r.yaml", asked)
    load.dump(tmp_path / "r.json", asked | {"out": "elsewhere", "name": "a name"})
    flags = ["--model", str(tiny_model), "--data", str(rows), "--limit", "40", "--lr", "1e-4"]

    by_flags = stead("plan", *flags, "--method", "sft", "--adapter", "lora", "--json")
    by_file = stead("plan", str(tmp_path / "r.yaml"), "--out", "here", "--json")
    by_both = stead("plan", str(tmp_path / "r.json"), "--lr", "9", "-s", "trainer.lr=0.0001", "-q")

    plans = [Plan.from_json(json.loads(p.stdout.splitlines()[-1])) for p in (by_flags, by_file)]
    hashes = {p.hash for p in plans} | {by_both.stdout.strip(), make_plan(asked).hash}
    assert len(hashes) == 1
    assert plans[0].origins["trainer.lr"] == "option --lr"
    assert plans[1].origins["trainer.lr"] == f"{tmp_path / 'r.yaml'}:7"


def test_what_a_launcher_cannot_do_is_refused_by_the_plan(asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"launch\.processes is 2"):
        make_plan(asked, {"launch.processes": 2})


def test_the_table_shows_values_origins_counts_forecast_and_hash(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    load.dump(tmp_path / "r.yaml", asked)

    shown = stead("plan", str(tmp_path / "r.yaml"))

    assert shown.returncode == 0, shown.stderr
    for word in ("trainer.lr", "default of adapter lora", "tokens ", "memory ", "time ", "plan "):
        assert word in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan"], "model.path is missing"),
        (["plan", "none.yaml"], "no file 'none.yaml'"),
        (["plan", "--model", "no-such-model", "--data", "x"], "no-such-model"),
        (
            ["plan", "--model", "m", "--data", "d", "-s", "trainer.lrr=1"],
            "did you mean 'trainer.lr'",
        ),
        (["plan", "--lr", "high", "--model", "m", "--data", "d"], "option --lr: trainer.lr='high'"),
        (["plan", "-s", "nonsense"], "key.path=value"),
        (["validate-config", "none.yaml"], "no file"),
        (["schema", "nothing"], "known: run, settings"),
    ],
)
def test_refused_input_is_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    done = stead(*arguments)

    assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_validate_config_lists_every_problem_with_its_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("model: {path: m}\ndata: {path: d}\n")
    bad.write_text("model: {pth: m}\ntrainer:\n  epochs: 0\n")

    fine, refused = (
        stead("validate-config", str(good), "--json"),
        stead("validate-config", str(bad)),
    )

    assert (fine.returncode, json.loads(fine.stdout)["valid"]) == (0, True)
    assert refused.returncode == 2
    assert f"{bad}:1: there is no key 'model.pth'" in refused.stderr
    assert f"{bad}:3: trainer.epochs=0 should be greater than 0" in refused.stderr


def test_the_schema_is_json_and_can_be_written(tmp_path: Path) -> None:
    shown = stead("schema", "run")
    stead("schema", "run", "--out", str(tmp_path / "s.json"))

    assert json.loads(shown.stdout) == json.loads((tmp_path / "s.json").read_text())


def test_a_part_that_nobody_asked_for_is_shown_as_none(asked: dict[str, Any]) -> None:
    made = make_plan(asked | {"method": {"type": "grpo", "rewards": [{"scorer": "number_match"}]}})

    shown = render(made)

    below = [line for line in shown.splitlines() if line.startswith("method.sampler.")]
    assert below
    assert all(line.split()[1] == "None" for line in below)
