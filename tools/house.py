"""Run the house rules over the repository and print its dials: `python tools/house.py [--json]`.

Knows nothing about single rules (`rules`, `duplicates`) beyond their names. Exit status 1 on any
finding.
"""

import ast
import json
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import duplicates
import rules
from rules import Doors, Source

ROOT = Path(__file__).resolve().parent.parent
_LONGEST = 400
_TEXT = (".py", ".md", ".yaml", ".yml", ".toml", ".json", ".ts", ".tsx", ".sh", ".txt", ".cfg", "")
# Pieces are joined so that this file does not find itself.
_PRIVATE = {
    "machine path": r"(?<![\w.])/(?:"
    + "|".join(("ho" + "me", "Us" + "ers", "ro" + "ot", "wo" + "rk"))
    + r")/\w",
    "private address": r"\b(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b",
    "registry host": r"\b(?:" + "|".join(("artifac" + "tory", "dev" + "pi")) + r")\b",
}
Finding = tuple[str, int, str, str]


def doors(root: Path) -> Doors:
    """Read contract 3 and the extras from pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    third = next(c for c in contracts if c["name"].startswith("3 "))
    pairs = [line.split(" -> ") for line in third["ignore_imports"]]
    return Doors(
        tuple(third["forbidden_modules"]),
        tuple((module, library) for module, library in pairs),
        tuple(project["project"]["optional-dependencies"]),
    )


def tree_findings(found: list[Source]) -> Iterator[Finding]:
    """Yield what the rules find in the source."""
    for source in found:
        for line, rule, message in rules.check(source):
            yield f"src/stead/{source.name}", line, rule, message


def length_findings(found: list[Source]) -> Iterator[Finding]:
    """Yield files that are too long and give no reason."""
    for source in found:
        lines = source.text.count("\n")
        doc = ast.get_docstring(source.tree)
        if lines > _LONGEST and "long because" not in (doc if doc else "").lower():
            message = f"{lines} lines: split it, or say in the docstring that it is long because …"
            yield f"src/stead/{source.name}", 1, "file-length", message


def duplicate_findings(found: list[Source]) -> Iterator[Finding]:
    """Yield equal blocks."""
    for first, second in duplicates.find({s.name: s.tree for s in found}):
        where = f"src/stead/{first.file}:{first.first}-{first.last}"
        yield f"src/stead/{second.file}", second.first, "duplicate", f"says the same as {where}"


def room_findings(root: Path) -> Iterator[Finding]:
    """Yield public names that a room would replace, and ignored patterns that hide a room."""
    folders = (root / "src" / "stead").iterdir()
    rooms = {p.name for p in folders if p.is_dir() and p.name[0].isalpha()}
    text = (root / "src" / "stead" / "__init__.py").read_text(encoding="utf-8")
    public = set(re.findall(r'^    "(\w+)": "stead\.', text, re.MULTILINE))
    for name in sorted(public & rooms):
        yield "src/stead/__init__.py", 1, "room", f"{name!r} is a room: importing it replaces it"
    ignored = (root / ".gitignore").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(ignored, 1):
        if line.strip("/") in rooms and not line.startswith("/"):
            yield ".gitignore", number, "gitignore", f"{line!r} also hides the room: write /{line}"


def private_findings(root: Path, files: list[str]) -> Iterator[Finding]:
    """Yield machine paths and private addresses in tracked text files."""
    for name in files:
        path = root / name
        if path.suffix not in _TEXT or not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            for what, pattern in _PRIVATE.items():
                is_sample = what == "private address" and name.startswith("tests/")
                if not is_sample and re.search(pattern, line):
                    yield name, number, "private", f"{what}: the repository speaks of itself alone"


def tracked(root: Path) -> list[str]:
    """Return the files that git tracks."""
    done = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - the git on the path
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def dials(found: list[Source]) -> dict[str, float]:
    """Return the measures that a review looks at."""
    lengths = [s.text.count("\n") for s in found if s.text.strip()]
    functions = [
        node
        for source in found
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = [(f.end_lineno if f.end_lineno else f.lineno) - f.lineno + 1 for f in functions]
    wide = [len(f.args.args) + len(f.args.kwonlyargs) - _bound(f) for f in functions]
    return {
        "files": len(lengths),
        "lines": sum(lengths),
        "file_length_median": statistics.median(lengths),
        "file_length_max": max(lengths),
        "files_above_200": sum(n > 200 for n in lengths),
        "functions": len(sizes),
        "function_length_median": statistics.median(sizes),
        "functions_above_40": sum(n > 40 for n in sizes),
        "functions_above_6_parameters": sum(n > 6 for n in wide),
    }


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return int(bool(function.args.args) and function.args.args[0].arg in ("self", "cls"))


def findings(root: Path, files: list[str]) -> list[Finding]:
    """Return everything that is wrong, in the order of files and lines."""
    found = list(rules.sources(root, doors(root)))
    everything = [
        *tree_findings(found), *length_findings(found), *duplicate_findings(found),
        *room_findings(root), *private_findings(root, files),
    ]  # fmt: skip
    return sorted(everything)


def main(arguments: list[str]) -> int:
    """Print findings and dials; return the exit status."""
    found = findings(ROOT, tracked(ROOT))
    measured = dials(list(rules.sources(ROOT, doors(ROOT))))
    if "--json" in arguments:
        print(json.dumps({"findings": found, "dials": measured}))
        return 1 if found else 0
    for file, line, rule, message in found:
        print(f"{file}:{line}: {rule}: {message}")
    print("  ".join(f"{name} {value:g}" for name, value in measured.items()))
    print(f"{len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
