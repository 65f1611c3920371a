"""What the project promises of itself: verbs, gates, documents, folders, no key in any file.

Knows nothing about what the verbs find: CI runs them.
"""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from stead.core.secret import SHAPES

ROOT = Path(__file__).resolve().parents[2]


def printed(*arguments: str) -> str:
    """Return the commands that make would run; nothing is run."""
    done = subprocess.run(
        ["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.spec("001-061")
def test_setup_installs_for_the_environment_that_is_named():
    assert "-e '.[dev]'" in printed("-B", "setup", "ENV=development")
    assert "-e '.[serve]'" in printed("-B", "setup", "ENV=production")


@pytest.mark.spec("001-062", "001-063", "002-068")
def test_check_runs_every_gate_and_test_the_tests():
    check, config = printed("check"), tomllib.loads((ROOT / "pyproject.toml").read_text())

    for gate in ("ruff format --check", "ruff check", "mypy", "lint-imports", "tools/house.py"):
        assert gate in check
    assert "pytest" in printed("test")
    assert config["tool"]["mypy"]["strict"] is True
    assert config["tool"]["ruff"]["lint"]["mccabe"]["max-complexity"] < 10
    assert {"C90", "D1"} <= set(config["tool"]["ruff"]["lint"]["select"])


@pytest.mark.spec("000-025", "003-085", "002-070")
def test_the_documents_are_there_and_say_what_they_are_for():
    wanted = {
        "docs/guides/getting-started.md": "stead train",
        "docs/reference/commands.md": "stead serve",
        "docs/reference/configuration.md": "`epochs`",
        "docs/reference/errors.md": "unknown-model",
        "docs/guides/strategies.md": "fallback_chain",
        "docs/guides/adapters.md": "lora",
        "AGENTS.md": "## Layers",
        "CONTRIBUTING.md": "**Pull requests.**",
        "examples/sft_loop.py": "def ",
    }

    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in wanted}

    assert {name for name, word in wanted.items() if word not in texts[name]} == set()
    assert {"**Code.**", "**Tests.**"} <= set(texts["CONTRIBUTING.md"].split())


@pytest.mark.spec("001-047", "001-048")
@pytest.mark.parametrize("folder", ["tests/unit", "tests/integration", "tests/faults", "bench"])
def test_every_kind_of_proof_has_its_folder(folder):
    assert list((ROOT / folder).rglob("*.py"))


@pytest.mark.spec("000-092")
def test_no_file_of_the_package_holds_a_key():
    files = [
        p for p in (ROOT / "src" / "stead").rglob("*") if p.suffix in (".py", ".yaml", ".json")
    ]

    assert len(files) > 300
    shape = re.compile("(?<![A-Za-z0-9])(?:" + "|".join(SHAPES.values()) + ")")
    assert [p for p in files if shape.search(p.read_text(encoding="utf-8"))] == []
