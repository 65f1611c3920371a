"""Types are complete, and a type checker agrees. The second takes a minute without a cache: off by default."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "stead"


def untyped(path: Path) -> list[str]:
    """Return the functions of a file that leave a type out."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            bare = [a.arg for a in every if a is not None and a.annotation is None]
            if node.returns is None or set(bare) - {"self", "cls"}:
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}")
    return found


@pytest.mark.spec("003-001")
def test_every_function_says_its_types():
    assert [name for path in sorted(SOURCE.rglob("*.py")) for name in untyped(path)] == []
    assert (SOURCE / "py.typed").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.spec("003-001")
def test_the_type_checker_passes():
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
