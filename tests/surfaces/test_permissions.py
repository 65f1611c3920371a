"""What this user may not read or write is a typed error with the place, and nothing is left half-made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_BOUND = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
]  # root obeys the bits of files, too


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of rows in a folder of its own."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "rows.jsonl"
    path.write_text("".join(f'{{"question": "what is {i}?", "answer": "{i}"}}\n' for i in range(8)))
    return path


def ask(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without root's rights over files."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("not run: root without setpriv may do everything")
    bound = _BOUND if os.geteuid() == 0 else []
    command = [*bound, sys.executable, "-m", "stead", *map(str, arguments)]
    environment = os.environ | {"STEAD_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_rows_that_may_not_be_read(rows: Path, tmp_path: Path) -> None:
    rows.chmod(0)

    found = ask(tmp_path / "home", "data", "inspect", rows)

    assert found.returncode == 1
    assert f"error: '{rows}' may not be used by this user: Permission denied" in found.stderr
    assert f"hint: ls -ld {rows}" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_data_directory_that_may_not_be_written(
    rows: Path, tiny_model: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o555)

    found = ask(home, "train", "--model", tiny_model, "--data", rows, "--out", tmp_path / "run")

    assert found.returncode == 1
    assert f"error: the data directory '{home}' may not be written by this user" in found.stderr
    assert "hint: export STEAD_HOME=" in found.stderr
    assert not list(home.iterdir())
    assert not (tmp_path / "run" / "checkpoints").exists()
