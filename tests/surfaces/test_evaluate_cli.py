"""`stead evaluate` and `stead benchmark` as a user types them, on the tiny model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stead.cli.main import run


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    turns = [{"question": f"what is {i} plus two?", "answer": f"it is {i + 2}"} for i in range(12)]
    path.write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    return path


def stead(*arguments: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "stead", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.spec("003-080", "002-023")
def test_two_models_are_compared_on_the_same_rows(tiny_model, rows, tmp_path):
    other = shutil.copytree(tiny_model, tmp_path / "other")
    out = tmp_path / "run"
    done = stead(
        "evaluate", "--model", tiny_model, "--against", other, "--data", rows, "--out", out,
        "--metrics", "exact_match,rouge,bleu,perplexity", "--max-new-tokens", 8, "--dtype", "fp32", "--json",
    )  # fmt: skip
    result = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stderr
    assert list(result["metrics"]) == [
        "exact_match",
        "rouge1",
        "rouge2",
        "rougeL",
        "bleu",
        "perplexity",
    ]
    loss = result["metrics"]["perplexity"]
    assert loss["base"] == loss["tuned"] > 1
    assert (loss["delta"], loss["p"], loss["n"]) == (0, 1, 12)
    assert loss["higher_is_better"] is False
    assert result["n"] == 12
    assert {p.name for p in (out / "reports").iterdir()} == {
        "report.html", "report.json", "report.md", "rows.jsonl",
    }  # fmt: skip
    assert "Traceback" not in done.stderr


@pytest.mark.spec("003-014", "003-081")
@pytest.mark.parametrize(("form", "begin"), [("html", "<!doctype html>")])
def test_a_benchmark_writes_the_report_where_it_was_asked_to(
    tiny_model, rows, tmp_path, capsys, form, begin
):
    target = tmp_path / "deep" / f"report.{form}"
    run_ok(
        "benchmark", "--base", tiny_model, "--finetuned", tiny_model, "--data", rows, "--limit", 3,
        "--metric", "f1", "--metric", "contains,chrf", "--report", target, "--format", form,
        "--max-new-tokens", 4, "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    shown = capsys.readouterr()

    assert target.read_text().startswith(begin)
    assert "no difference shown" in shown.out
    for name in ("f1", "contains", "chrf"):
        assert name in shown.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "bluu"], "did you mean 'bleu'"),
        (["--metrics", ""], "no metric is named"),
        (["--metrics", "f1", "--temperature", "99"], "temperature is 99.0"),
    ],
)
def test_a_wrong_option_is_refused_before_a_worker_starts(
    rows, tmp_path, capsys, arguments, message
):
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        run(["evaluate", "--model", "x", "--data", str(rows), "--out", str(out), *arguments])

    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def run_ok(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        run([str(a) for a in arguments])
    assert ended.value.code == 0
