"""What a base install can do: import every light module, list every registry, print help."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "numpy", "pyarrow",
    "tokenizers", "gguf", "xllamacpp", "sacrebleu", "rouge_score", "tensorboard", "fastapi", "uvicorn",
)  # fmt: skip
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ImportError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter with the heavy libraries blocked; return its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER + code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_importing_stead_loads_no_other_module_of_ours() -> None:
    code = (
        "import stead, json; print(json.dumps([m for m in sys.modules if m.startswith('stead')]))"
    )

    assert json.loads(python(code)) == ["stead"]


def test_every_public_name_is_promised_by_a_module_that_is_there() -> None:
    code = """
import stead, importlib.util, json
print(json.dumps([t for t in stead._PUBLIC.values() if importlib.util.find_spec(t.partition(':')[0]) is None]))
"""

    assert json.loads(python(code)) == []


def test_the_blocker_blocks() -> None:
    code = "\ntry:\n    import numpy\nexcept ImportError as e:\n    print(e)"

    assert python(code) == "blocked: numpy\n"


@pytest.mark.spec("000-088", "001-031", "002-055")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plan", "--help"]])
def test_help_works_in_a_base_install(arguments: list[str]) -> None:
    code = """
from stead.cli.main import run
try:
    run(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
"""

    assert python(code, *arguments).strip()


def test_help_loads_only_what_it_prints() -> None:
    code = """
import io, json
from stead.cli.main import run
real, sys.stdout = sys.stdout, io.StringIO()
try:
    run(["--help"])
except SystemExit:
    pass
sys.stdout = real
print(json.dumps(sorted(m for m in sys.modules if m.startswith(("stead", "rich", "pydantic", "httptools", "sqlalchemy", "yaml")) )))
"""

    loaded = json.loads(python(code))

    outside = [m for m in loaded if not m.startswith(("stead.cli", "stead.core")) and m != "stead"]
    assert outside == []
    assert not [m for m in loaded if m.startswith("stead.cli.commands.")]


@pytest.mark.spec("000-088", "001-031", "002-055")
def test_every_light_module_imports_without_a_heavy_library() -> None:
    code = """
import importlib, json, pkgutil, tomllib, stead
from pathlib import Path
contracts = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
light = next(c for c in contracts if c["name"].startswith("2 "))["source_modules"]
def is_light(name):
    rooms = [room for room in light if "worker" not in room]  # programs of the extras
    return any(name == room or name.startswith(room + ".") for room in rooms)
names = [m.name for m in pkgutil.walk_packages(stead.__path__, "stead.", onerror=lambda n: None) if is_light(m.name)]
failed = {}
for name in names:
    if name == "stead.__main__":
        continue
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps([len(names), failed]))
"""

    count, failed = json.loads(python(code))

    # The platform's surface is made of the extra [serve]; `stead serve --no-platform` does without.
    surface = [
        n for n, why in failed.items() if n.startswith("stead.web.") and "blocked: fastapi" in why
    ]
    assert {n: why for n, why in failed.items() if n not in surface} == {}
    assert count > 100


def test_contract_two_names_every_light_room() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = project["tool"]["importlinter"]["contracts"][1]
    heavy = {"api", "models", "training", "exporting", "pipeline", "worker", "__init__", "py.typed"}
    rooms = {p.name.removesuffix(".py") for p in (ROOT / "src" / "stead").iterdir()} - {
        "__pycache__"
    }

    named = {m.split(".")[1] for m in contract["source_modules"]}

    assert rooms - heavy <= named


def test_every_registry_lists_its_files_and_loads_its_configs_in_a_base_install() -> None:
    code = """
import json
from stead.config.kinds import KINDS, registry
found = {kind: registry(kind).names() for kind in KINDS}
for kind in ("method", "adapter"):
    for name in found[kind]:
        registry(kind).config_of(name).model_json_schema()
print(json.dumps(found))
"""

    found = json.loads(python(code))

    package = ROOT / "src" / "stead"
    for kind, folder in {"method": "training/methods", "adapter": "models/adapters"}.items():
        files = {p.stem for p in (package / folder).glob("*.py") if not p.stem.startswith("_")}
        assert files <= set(found[kind])
        assert files


@pytest.mark.spec("001-027")
def test_a_checkout_works_without_being_installed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("static"))
    code = "import stead; print(stead.__file__); from stead.cli.main import run; run(['--version'])"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": "./src"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.startswith(str(tmp_path / "src" / "stead" / "__init__.py")), done.stderr
    assert len(done.stdout.splitlines()) == 2
