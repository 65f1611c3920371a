"""Equal requests give an equal Plan hash: command line, Python and a recipe file."""

import json
import subprocess
import sys

import pytest

import stead


@pytest.fixture
def request_parts(tmp_path, tiny_model):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"prompt": f"say {i}", "completion": f"{i}"}) + "\n" for i in range(30))
    )
    return tiny_model, rows


@pytest.mark.spec("003-058", "003-084")
def test_cli_python_and_yaml_plan_the_same_run(tmp_path, request_parts):
    model, rows = request_parts
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"out: {tmp_path / 'elsewhere'}\nmodel: {{path: {model}}}\ndata: {{path: {rows}, max_length: 64}}\n"
        "method: sft\nadapter: {type: lora, r: 4}\ntrainer: {epochs: 9, lr: 1e-3}\n"
    )
    options = ["--model", str(model), "--data", str(rows), "--max-length", "64", "--epochs", "2"]
    flags = [*options, "--method", "sft", "--adapter", "lora", "--lr", "0.001", "-s", "adapter.r=4"]

    python = stead.plan(
        model=model, data=rows, max_length=64, method="sft", epochs=2, lr=0.001, out=tmp_path / "run",
        adapter={"type": "lora", "r": 4},
    )  # fmt: skip
    cli, yaml = (
        subprocess.run(
            [sys.executable, "-m", "stead", "plan", *arguments, "--json"],
            capture_output=True,
            check=True,
        )
        for arguments in (flags, [str(recipe), "--epochs", "2"])
    )

    assert json.loads(cli.stdout)["plan"] == python.hash
    assert json.loads(yaml.stdout)["plan"] == python.hash
    assert json.loads(yaml.stdout)["origins"]["trainer.epochs"] == "option --epochs"
