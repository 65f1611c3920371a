"""Export and parity as a user types them: real processes, one JSON line, exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp")


def _stead(*arguments: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "stead", *arguments, "--json"],
        capture_output=True, text=True, check=False, env=dict(os.environ), timeout=120,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.spec("000-037")
def test_export_then_parity_then_a_changed_model(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"

    status, made, _ = _stead("export", str(tiny_model), "--quant", "q8_0", "--out", str(file))
    assert (status, made["format"], made["quant"]) == (0, "gguf", "q8_0")
    assert made["bytes"] == made["estimated_bytes"] == file.stat().st_size
    assert "Weights are rounded to q8_0" in file.with_suffix(".md").read_text()

    status, found, _ = _stead("parity", str(tiny_model), str(file), "--limit", "2")
    assert (status, found["verdict"], found["n_conversations"]) == (0, "pass", 2)

    raw = file.read_bytes()
    file.write_bytes(raw.replace(b"<|im_end|>{% endif %}", b"<|im_and|>{% endif %}"))
    status, found, error = _stead("parity", str(tiny_model), str(file), "--limit", "2")
    assert (status, found["verdict"]) == (1, "fail")
    assert "Traceback" not in error


def test_refused_input_exits_2_with_a_typed_error(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"

    status, found, error = _stead("export", str(tiny_model), "--quant", "q5", "--out", str(out))

    assert (status, found["error"]["code"]) == (2, "unknown-quant")
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
