"""The guides' code blocks run as they stand, in order, in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_blocks(guide: str, folder: Path) -> int:
    blocks = BLOCK.findall((GUIDES / guide).read_text(encoding="utf-8"))
    env = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for language, code in blocks:
        command = ["bash", "-euc", code] if language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return len(blocks)


@pytest.mark.timeout(600)  # three guides of many commands each: minutes on a busy machine
@pytest.mark.spec("000-025")
def test_getting_started_and_what_follows_run(tmp_path: Path) -> None:
    assert run_blocks("getting-started.md", tmp_path) >= 5
    assert run_blocks("python.md", tmp_path) == 3
    assert run_blocks("runs-and-sweeps.md", tmp_path) == 4


def test_preferences_run(tmp_path: Path) -> None:
    assert run_blocks("preference.md", tmp_path) == 7


def test_rewards_run(tmp_path: Path) -> None:
    assert run_blocks("rl.md", tmp_path) == 1


def test_distillation_runs(tmp_path: Path) -> None:
    assert run_blocks("distillation.md", tmp_path) == 4


def test_prompt_tuning_runs(tmp_path: Path) -> None:
    assert run_blocks("prompt-tuning.md", tmp_path) == 2


def test_pruning_and_qat_run(tmp_path: Path) -> None:
    assert run_blocks("pruning-and-qat.md", tmp_path) == 4


def test_strategies_run(tmp_path: Path) -> None:
    assert run_blocks("strategies.md", tmp_path) == 1


def test_the_gateway_runs(tmp_path: Path) -> None:
    assert run_blocks("gateway.md", tmp_path) == 7
