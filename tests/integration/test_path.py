"""The whole path as a user walks it: one tiny model through every command, each a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def stead(*arguments: str, status: int = 0) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "stead", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    lines = [{"question": f"What is {i} plus {i}?", "answer": str(i + i)} for i in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.spec("003-016", "001-024", "003-012", "003-013", "000-076", "003-082", "001-057")
def test_a_model_is_made_tuned_measured_exported_and_compared(tmp_path, rows):
    base, run, gguf = tmp_path / "base", tmp_path / "run", tmp_path / "sums.gguf"
    stead("model", "new", str(base), "--preset", "nano", "--text", str(rows))

    trained = stead(
        "train", "--model", str(base), "--data", str(rows), "--method", "sft", "--adapter", "lora",
        "--out", str(run), "--epochs", "2", "--lr", "0.01", "--seed", "1",
    )  # fmt: skip
    measured = stead(
        "evaluate", "--model", str(run), "--against", str(base), "--data", str(rows),
        "--metrics", "exact_match,perplexity", "--max-new-tokens", "4", "--out", str(run),
    )  # fmt: skip
    exported = stead("export", str(run), "--format", "gguf", "--quant", "f32", "--out", str(gguf))
    compared = stead("parity", str(run), str(gguf), "--data", str(rows), "--limit", "4")

    wanted = {
        "run",
        "out",
        "steps",
        "tokens",
        "seconds",
        "tokens_per_s",
        "final_loss",
        "peak_rss_mib",
    }
    assert wanted <= trained.keys()
    assert list(run.rglob("adapter_model.safetensors"))
    assert list(run.rglob("adapter_config.json"))
    perplexity = measured["metrics"]["perplexity"]
    assert perplexity["tuned"] < perplexity["base"]
    assert (run / "reports" / "report.html").is_file()
    assert exported["bytes"] == gguf.stat().st_size
    assert compared["verdict"] == "pass"
    assert compared["hops"][0]["logprob_max_abs"] < 0.05  # the reference is bf16-free: f32 file
    logs = [p.read_text() for e in ("*.log", "metrics.jsonl", "events.jsonl") for p in run.rglob(e)]
    assert logs
    assert not [text for text in logs if "What is 7 plus 7?" in text]


def test_a_run_in_the_same_folder_is_refused_and_resume_says_where_it_begins(tmp_path, rows):
    base, run = tmp_path / "base", tmp_path / "run"
    stead("model", "new", str(base), "--preset", "nano", "--text", str(rows))
    options = ["--model", str(base), "--data", str(rows), "--out", str(run), "--max-steps", "2"]

    first = stead("train", *options, "--resume")
    again = stead("train", *options, "--resume")
    refused = stead("train", *options, status=2)

    assert first["steps"] == 2
    assert again["weights_sha256"] == first["weights_sha256"]
    assert refused["error"]["code"] == "run-exists"
