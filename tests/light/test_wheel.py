"""The wheel holds every file of the package: a file that an ignore pattern swallows is lost."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(out),
            str(ROOT),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(out.glob("*.whl"))


@pytest.mark.spec("000-008")
def test_the_wheel_holds_exactly_the_files_of_the_source(wheel: Path) -> None:
    package = ROOT / "src"
    source = {
        p.relative_to(package).as_posix()
        for p in (package / "stead").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }

    with zipfile.ZipFile(wheel) as archive:
        packed = {n for n in archive.namelist() if not n.partition("/")[0].endswith(".dist-info")}

    assert packed == source
    assert "stead/planning/defaults.yaml" in packed


@pytest.mark.spec("000-007")
def test_the_wheel_has_one_console_script(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("entry_points.txt"))
        text = archive.read(name).decode()

    assert text.split() == ["[console_scripts]", "stead", "=", "stead.cli.main:run"]
