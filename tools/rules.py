"""The house rules that a syntax tree can show: each with its reason, and what to write instead.

Knows nothing about how findings are printed. A line may opt out with `# house: <rule> - <reason>`.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Hit = tuple[int, str]
_ALLOWED = re.compile(r"#.*house: ([a-z-]+) - \S+")


@dataclass(frozen=True)
class Source:
    """One parsed file; `name` is its path below src/stead, with slashes."""

    name: str
    text: str
    tree: ast.Module
    doors: "Doors"

    @classmethod
    def parse(cls, name: str, text: str, doors: "Doors | None" = None) -> "Source":
        """Parse a file's text."""
        return cls(name, text, ast.parse(text), doors if doors is not None else Doors((), (), ()))

    def allows(self, line: int, rule: str) -> bool:
        """Say whether the line opts out of `rule` and gives a reason."""
        lines = self.text.splitlines()
        found = _ALLOWED.search(lines[line - 1]) if 0 < line <= len(lines) else None
        return found is not None and found[1] == rule

    def inside(self, *places: str) -> bool:
        """Say whether the file is one of `places`; a place ending in / is a folder."""
        return any(self.name == p or (p.endswith("/") and self.name.startswith(p)) for p in places)


@dataclass(frozen=True)
class Doors:
    """Contract 3 of pyproject.toml: closed libraries, open doors, and the extras there are."""

    closed: tuple[str, ...]
    opened: tuple[tuple[str, str], ...]  # (module pattern, library)
    extras: tuple[str, ...]

    def open_for(self, module: str, library: str) -> bool:
        """Say whether `module` may import `library` by contract 3."""
        top = library.partition(".")[0]
        if top not in self.closed:
            return True
        return any(lib == top and _matches(module, pattern) for pattern, lib in self.opened)


def _matches(module: str, pattern: str) -> bool:
    escaped = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", r"[^.]+")
    return re.fullmatch(escaped, module) is not None


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` for such an expression, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def _calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node, _dotted(node.func)


def _truthy_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return bool(node.value) and not isinstance(node.value, bool)
    return isinstance(node, ast.List | ast.Tuple | ast.Set) and bool(node.elts)


def or_default(source: Source) -> Iterator[Hit]:
    """`x or default` swallows 0, "" and []."""
    tests = {
        id(inner)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert)
        for inner in ast.walk(node.test)
    }
    for node in ast.walk(source.tree):
        is_default = isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)
        if not is_default or id(node) in tests or not _is_option(node.values[0]):
            continue
        if _truthy_literal(node.values[-1]):
            yield node.lineno, "0, '' and [] are values: write `default if x is None else x`"


def _is_option(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return _dotted(node.func).rpartition(".")[2] in ("get", "getattr")
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript)


def printing(source: Source) -> Iterator[Hit]:
    """Output is lost, or mixed into data, when anything but the command line prints."""
    if source.inside("cli/"):
        return
    for call, name in _calls(source):
        if name == "print":
            yield call.lineno, "emit an event, or log; only cli prints"


def broad_except(source: Source) -> Iterator[Hit]:
    """A broad except hides faults; a process's entry turns them into events."""
    if source.inside("worker/", "cli/main.py"):
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        names = [_dotted(t) for t in getattr(node.type, "elts", [node.type]) if t is not None]
        again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if (not names or {"Exception", "BaseException"} & set(names)) and not again:
            yield node.lineno, "catch the errors you can handle, by name, or end with `raise`"


def laziness(source: Source) -> Iterator[Hit]:
    """Laziness must not hide a dependency from the contracts."""
    for call, name in _calls(source):
        if name in ("lazy", "lazy.lazy", "core.lazy.lazy"):
            message = _lazy_fault(source, call)
            if message is not None:
                yield call.lineno, message


def _lazy_fault(source: Source, call: ast.Call) -> str | None:
    module = "stead." + source.name.removesuffix(".py").replace("/", ".")
    library = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else ""
    extra = next((k.value for k in call.keywords if k.arg == "extra"), None)
    if not isinstance(library, str) or not library:
        return 'name the library as a plain string: lazy("torch", extra="train")'
    if library.partition(".")[0] == "stead":
        return "import our own modules plainly; contract 2 must see a chain"
    if not isinstance(extra, ast.Constant) or extra.value not in source.doors.extras:
        return f"name the extra that installs it: extra= one of {', '.join(source.doors.extras)}"
    if not source.doors.open_for(module, library):
        return f"{library} has no door in {module}: see contract 3 in pyproject.toml"
    return None


_NEVER = {
    "eval": "parse the text you expect",
    "exec": "call a function",
    "__import__": "use core/lazy or the registry",
    "torch.load": "safetensors only: it cannot run code",
    "yaml.load": "config/load.parse_yaml",
    "yaml.load_all": "config/load.parse_yaml",
    "yaml.unsafe_load": "config/load.parse_yaml",
    "yaml.full_load": "config/load.parse_yaml",
    "os.system": "core/process",
    "os.popen": "core/process",
}
_NEVER_MODULES = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "tarfile")


def code_through_data(source: Source) -> Iterator[Hit]:
    """Data must not become code: no eval, no pickle, no shell, no remote code."""
    for call, name in _calls(source):
        if name in _NEVER:
            yield call.lineno, f"no {name}: {_NEVER[name]}"
        if name.endswith((".extractall", ".unpack_archive")):
            yield call.lineno, "archives are opened by core/files, member by member"
        for keyword in call.keywords:
            true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if keyword.arg in ("shell", "trust_remote_code") and true:
                yield call.lineno, f"no {keyword.arg}=True: pass a list of arguments, or data"
        if _is_sql(name) and call.args and isinstance(call.args[0], ast.JoinedStr):
            yield call.lineno, "no SQL by f-string: bind parameters"
    for line, name in _imports(source):
        if name.partition(".")[0] in _NEVER_MODULES:
            yield line, f"no {name}: safetensors, JSON or core/files"


def _is_sql(name: str) -> bool:
    return name.endswith((".execute", ".exec_driver_sql")) or name in ("text", "sqlalchemy.text")


def _imports(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module if node.module is not None else ""


_WRITERS = ("core/files.py", "core/manifest.py", "core/events.py")


def torn_files(source: Source) -> Iterator[Hit]:
    """A file that is written in place is torn by a crash; a new one ("x") replaces nothing."""
    if source.inside(*_WRITERS):
        return
    for call, name in _calls(source):
        last = name.rpartition(".")[2] if name else getattr(call.func, "attr", "")
        if last == "open" and _write_mode(call, is_method=isinstance(call.func, ast.Attribute)):
            yield call.lineno, "write with core/files (replacing, write_text, write_json)"
        if last in ("write_text", "write_bytes") and name != f"files.{last}":
            yield call.lineno, f"use core/files.{last}: atomic and fsynced"
        if name in ("os.replace", "os.rename", "shutil.move"):
            yield call.lineno, "renames belong to core/files and core/manifest"


def _write_mode(call: ast.Call, *, is_method: bool) -> bool:
    place = 0 if is_method and _dotted(call.func) not in ("io.open", "gzip.open") else 1
    modes = [k.value for k in call.keywords if k.arg == "mode"] + call.args[place : place + 1]
    texts = [m.value for m in modes if isinstance(m, ast.Constant) and isinstance(m.value, str)]
    return any(re.fullmatch(r"[rwxabt+]+", t) and set(t) & set("w+") for t in texts)


def asynchronous(source: Source) -> Iterator[Hit]:
    """`wait_for` swallows cancellations; a task nobody holds may vanish with its error."""
    for call, name in _calls(source):
        if name == "asyncio.wait_for":
            yield call.lineno, "use `async with asyncio.timeout(…)`"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            last = _dotted(node.value.func).rpartition(".")[2]
            if last in ("create_task", "ensure_future"):
                yield node.lineno, "keep the task and await it, or use a TaskGroup"


_CLOCKS = ("time.time", "time.time_ns", "datetime.now", "datetime.datetime.now", "datetime.utcnow",
           "datetime.datetime.utcnow", "datetime.today", "date.today", "datetime.date.today",
           "torch.manual_seed", "torch.cuda.manual_seed_all", "torch.seed", "os.urandom")  # fmt: skip


def hidden_input(source: Source) -> Iterator[Hit]:
    """Exact resume and tests need clocks and randomness to come from outside."""
    if source.inside("core/seeds.py"):
        return
    for call, name in _calls(source):
        drawn = name.startswith(("random.", "np.random.", "numpy.random."))
        if name in _CLOCKS or drawn:
            yield call.lineno, f"no {name}(): take a seed of core/seeds.stream or a passed clock"


_BAD_NAMES = ("utils", "util", "misc", "common", "base", "manager", "helpers")


def names(source: Source) -> Iterator[Hit]:
    """A name must say what is inside."""
    stem = source.name.rpartition("/")[2].removesuffix(".py")
    if source.inside("compat/"):
        return
    if stem in _BAD_NAMES or stem.startswith("new_"):
        yield 1, f"{stem!r} says nothing: name the noun or the stage"


def empty_packages(source: Source) -> Iterator[Hit]:
    """Work at import of a package is a hidden dependency of all its modules."""
    if source.name.endswith("/__init__.py") and source.text.strip():
        yield 1, "move the code into a module; only the root __init__ holds code"


def error_codes(source: Source) -> Iterator[Hit]:
    """An error's code is stable kebab-case: users and other programs match on it."""
    for line, code, _ in raised(source.tree):
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code):
            yield line, f"the code {code!r} should be kebab-case"


def raised(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield (line, code, class) of every error of ours that is made in a module."""
    ours = {
        alias.asname if alias.asname else alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "stead.core.errors"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _dotted(node.func) in ours and len(node.args) >= 2:
            code = node.args[0]
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                yield node.lineno, code.value, ours[_dotted(node.func)]


def module_docstring(source: Source) -> Iterator[Hit]:
    """A module begins with what it is for."""
    if source.text.strip() and ast.get_docstring(source.tree) is None:
        yield 1, "begin with a docstring: what it is for, and what it does not know"


RULES: dict[str, Callable[[Source], Iterator[Hit]]] = {
    "or-default": or_default,
    "print": printing,
    "broad-except": broad_except,
    "lazy": laziness,
    "code-through-data": code_through_data,
    "torn-file": torn_files,
    "async": asynchronous,
    "hidden-input": hidden_input,
    "name": names,
    "empty-package": empty_packages,
    "error-code": error_codes,
    "module-docstring": module_docstring,
}


_EMPTY_NAME = "an empty list of architectures has no first name"
_WIRE = "on the wire an empty finish reason means the same as none"
ALLOWED: dict[tuple[str, str], str] = {
    ("or-default", "evaluation/report.py"): "a metric without signature is shown as plain",
    ("or-default", "exporting/card.py"): _EMPTY_NAME,
    ("or-default", "exporting/families.py"): _EMPTY_NAME,
    ("or-default", "wire/dialects/openai_chat.py"): _WIRE,
    ("or-default", "wire/dialects/openai_completions.py"): _WIRE,
    ("broad-except", "data/tokenizer.py"): "the tokenizers library raises plain Exception",
    ("broad-except", "engines/child.py"): "the entry of a child process",
    (
        "broad-except",
        "models/writing/schedule.py",
    ): "the edge of a thread: all who wait for it are told",
    ("broad-except", "inference/fan.py"): "the error travels through a queue and is raised there",
    (
        "broad-except",
        "training/tracker.py",
    ): "a tracker's library may raise anything; no run ends for it",
    ("broad-except", "serving/asgi.py"): "the edge of a server: every fault gets an answer",
    ("torn-file", "hub/library.py"): "moves whole folders, verified before and synced after",
    ("torn-file", "models/checkpoint.py"): "hides a retired folder before it is removed",
}
"""Whole files that a rule does not fit, each with its reason."""


def check(source: Source) -> Iterator[tuple[int, str, str]]:
    """Yield (line, rule, message) for each finding that the line does not opt out of."""
    for rule, find in RULES.items():
        for line, message in find(source):
            if (rule, source.name) not in ALLOWED and not source.allows(line, rule):
                yield line, rule, message


def sources(root: Path, doors: Doors) -> Iterator[Source]:
    """Parse every module below src/stead."""
    package = root / "src" / "stead"
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        yield Source.parse(name, path.read_text(encoding="utf-8"), doors)
