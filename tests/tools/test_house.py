"""Every house rule finds its planted fault, and stays quiet about what should be written instead."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import duplicates  # noqa: E402
import house  # noqa: E402
import rules  # noqa: E402
from rules import Doors, Source  # noqa: E402

DOORS = Doors(
    ("torch", "numpy_door"), (("stead.models.**", "torch"), ("stead.worker.*", "torch")), ("train",)
)
LAZY = 'from stead.core.lazy import lazy\nt = lazy("torch", extra="train")'

FAULTS = [
    ("or-default", "data/x.py", "n = limit or 10"),
    ("or-default", "data/x.py", "n = d.get('a') or ['b']"),
    ("or-default", "data/x.py", "n = self.name or 'x'"),
    ("print", "data/x.py", "print(1)"),
    ("broad-except", "data/x.py", "try:\n    f()\nexcept Exception:\n    pass"),
    ("broad-except", "data/x.py", "try:\n    f()\nexcept:\n    pass"),
    ("broad-except", "data/x.py", "try:\n    f()\nexcept (OSError, BaseException) as e:\n    g(e)"),
    ("lazy", "data/x.py", LAZY),
    ("lazy", "models/x.py", LAZY.replace("train", "trian")),
    ("lazy", "models/x.py", LAZY.replace('"torch"', "name")),
    ("lazy", "models/x.py", LAZY.replace('"torch"', '"stead.pipeline"')),
    ("code-through-data", "data/x.py", "eval(x)"),
    ("code-through-data", "data/x.py", "exec(x)"),
    ("code-through-data", "data/x.py", "__import__(x)"),
    ("code-through-data", "models/x.py", "torch.load(p)"),
    ("code-through-data", "data/x.py", "yaml.load(p)"),
    ("code-through-data", "data/x.py", "f(shell=True)"),
    ("code-through-data", "models/x.py", "f.from_pretrained(p, trust_remote_code=True)"),
    ("code-through-data", "data/x.py", "archive.extractall(p)"),
    ("code-through-data", "data/x.py", "import tarfile"),
    ("code-through-data", "data/x.py", "from pickle import loads"),
    ("code-through-data", "store/x.py", "db.execute(f'select {x}')"),
    ("torn-file", "data/x.py", "open(p, 'w')"),
    ("torn-file", "data/x.py", "open(p, mode='wb')"),
    ("torn-file", "data/x.py", "p.open('r+')"),
    ("torn-file", "data/x.py", "p.write_text(t)"),
    ("torn-file", "data/x.py", "os.replace(a, b)"),
    ("async", "serving/x.py", "asyncio.wait_for(f(), 1)"),
    ("async", "serving/x.py", "asyncio.create_task(f())"),
    ("hidden-input", "data/x.py", "random.shuffle(x)"),
    ("hidden-input", "data/x.py", "t = time.time()"),
    ("hidden-input", "data/x.py", "datetime.now()"),
    ("hidden-input", "data/x.py", "np.random.default_rng()"),
    ("hidden-input", "models/x.py", "torch.manual_seed(0)"),
    ("name", "data/utils.py", '"""A."""'),
    ("name", "data/new_reader.py", '"""A."""'),
    ("empty-package", "data/__init__.py", "X = 1"),
    (
        "error-code",
        "data/x.py",
        "from stead.core.errors import DataError\nraise DataError('Bad Row', 'm')",
    ),
    ("module-docstring", "data/x.py", "X = 1"),
]

FINE = [
    ("data/x.py", "n = 10 if limit is None else limit"),
    ("data/x.py", "n = a or b"),
    ("data/x.py", "n = given or {}"),
    ("data/x.py", "if a or 'b':\n    f()"),
    ("cli/x.py", "print(1)"),
    ("worker/x.py", "try:\n    f()\nexcept Exception as e:\n    g(e)"),
    ("data/x.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
    ("models/x.py", LAZY),
    ("data/x.py", LAZY.replace("torch", "numpy")),
    ("models/x.py", "model.eval()"),
    ("data/x.py", "open(p)\nopen(p, 'rb')\np.open()\nfiles.write_text(p, t)"),
    ("core/files.py", "open(p, 'w')\nos.replace(a, b)"),
    ("serving/x.py", "t = asyncio.create_task(f())\ngroup.start(asyncio.timeout(1))"),
    ("core/seeds.py", "random.random()"),
    ("data/x.py", "t = clock()\ng.manual_seed(3)\ntime.monotonic()"),
    ("data/x.py", "random.random()  # house: hidden-input - jitter of a retry, not of a run"),
    ("data/__init__.py", ""),
]


def hits(name: str, code: str) -> set[str]:
    return {rule for _, rule, _ in rules.check(Source.parse(name, code, DOORS))}


@pytest.mark.spec("002-059")
@pytest.mark.parametrize(("rule", "name", "code"), FAULTS)
def test_a_planted_fault_is_found(rule: str, name: str, code: str) -> None:
    assert rule in hits(name, code)


@pytest.mark.parametrize(("name", "code"), FINE)
def test_what_should_be_written_is_not_found(name: str, code: str) -> None:
    assert hits(name, code) - {"module-docstring"} == set()


def test_an_opt_out_needs_a_reason() -> None:
    assert "hidden-input" in hits("data/x.py", "random.random()  # house: hidden-input")


def test_every_rule_has_a_reason_and_a_planted_fault() -> None:
    assert {rule for rule, _, _ in FAULTS} == set(rules.RULES)
    assert all(check.__doc__ for check in rules.RULES.values())


SAME = """
def f(items):
    total = 0
    for item in items:
        if item.size > 3:
            total += item.size
        total -= 1
    total = max(total, 0)
    return total
"""


@pytest.mark.spec("002-068")
def test_a_block_of_six_equal_statements_is_found_under_other_names() -> None:
    other = SAME.replace("total", "count").replace("items", "rows").replace("def f", "def g")

    found = duplicates.find({"a.py": ast.parse(SAME), "b.py": ast.parse(other)})

    assert [(a.file, b.file) for a, b in found] == [("a.py", "b.py")]


def test_shorter_or_different_blocks_are_not_found() -> None:
    short = "def f(a):\n" + "".join(f"    a.go({i})\n" for i in range(5))
    other = SAME.replace("item.size > 3", "item.width > 3")

    assert duplicates.find({"a.py": ast.parse(short), "b.py": ast.parse(short)}) == []
    assert duplicates.find({"a.py": ast.parse(SAME), "b.py": ast.parse(other)}) == []


def planted(tmp_path: Path, files: dict[str, str]) -> list[tuple[str, int, str, str]]:
    """Return the findings in a small repository with these files."""
    package = tmp_path / "src" / "stead"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text(
        '"""R."""\n\n_PUBLIC = {\n    "plan": "stead.pipeline:plan",\n}\n'
    )
    (tmp_path / ".gitignore").write_text("/data/\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return house.findings(tmp_path, list(files))


@pytest.mark.parametrize(
    ("rule", "files"),
    [
        ("room", {"src/stead/__init__.py": '"""R."""\n_P = {\n    "data": "stead.x:data",\n}\n'}),
        ("gitignore", {".gitignore": "data/\n"}),
        ("file-length", {"src/stead/data/x.py": '"""A."""\n' + "X = 1\n" * 401}),
        ("private", {"README.md": "see /ho" + "me/someone/x\n"}),
        ("private", {"README.md": "at 192.168." + "0.7\n"}),
    ],
)
def test_a_fault_of_the_repository_is_found(
    tmp_path: Path, rule: str, files: dict[str, str]
) -> None:
    assert rule in {found[2] for found in planted(tmp_path, files)}


def test_a_clean_repository_has_no_findings(tmp_path: Path) -> None:
    long = '"""A table. Long because the format has that many types."""\n' + "X = 1\n" * 401

    assert planted(tmp_path, {"src/stead/data/x.py": long, "README.md": "see /data/x\n"}) == []


def test_the_dials_are_measured() -> None:
    measured = house.dials([Source.parse("a.py", SAME)])

    assert (measured["functions"], measured["function_length_median"]) == (1, 8)
