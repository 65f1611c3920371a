"""Each import contract finds its planted fault: a contract that cannot fail protects nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {
    "1 Values flow one way": ("core/planted.py", "import stead.planning\n"),
    "2 Light rooms never reach the heavy libraries": (
        "planning/planted.py",
        "def late() -> None:\n    import numpy\n",
    ),
    "3 One door for each library; some have none": ("data/planted.py", "import yaml\n"),
    "4 Extensions do not know one another": (
        "training/methods/planted.py",
        "import stead.training.methods.sft\n",
    ),
    "5 No cycles at any depth": (
        "config/planted.py",
        "import stead.config.planted_too\n",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, so that faults are planted in no one's tree."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "pyproject.toml", folder)
    skip = shutil.ignore_patterns("__pycache__", "static")
    shutil.copytree(ROOT / "src", folder / "src", ignore=skip)
    return folder


def _module(file: str) -> str:
    room, _, name = file.removesuffix(".py").rpartition("/")
    cycle = f".{name}"  # contract 5 names the siblings of a cycle without their package
    return cycle if room == "config" else f"stead.{room.replace('/', '.')}.{name}"


def lint(folder: Path) -> str:
    code = (
        "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(cache_dir='.cache'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder / "src"), "PATH": "", "COLUMNS": "200"},
    )
    return done.stdout + done.stderr


@pytest.mark.spec("000-006", "001-001", "003-006")
def test_the_contracts_are_kept(copy: Path) -> None:
    assert " 0 broken" in lint(copy)


@pytest.mark.spec("000-006", "000-077")
def test_every_contract_finds_its_planted_fault(copy: Path) -> None:
    planted = [copy / "src" / "stead" / name for name, _ in FAULTS.values()]
    for path, (_, code) in zip(planted, FAULTS.values(), strict=True):
        path.write_text(f'"""Planted."""\n\n{code}')
    back = copy / "src" / "stead" / "config" / "planted_too.py"
    back.write_text("import stead.config.planted\n")

    report = lint(copy)
    for path in (*planted, back):
        path.unlink()

    kept = [name for name in FAULTS if f"{name} BROKEN" not in report]
    assert kept == []
    assert [n for n, _ in FAULTS.values() if _module(n) not in report] == []
