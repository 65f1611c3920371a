"""Write docs/reference from the code, or with `--check` say which page is out of date.

Knows nothing about prose: options, keys, error codes and extensions come from where they are
defined, so a page cannot say anything else. The pages are committed.
"""

import ast
import io
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import rules
from stead.cli import main as cli
from stead.config.kinds import KINDS, registry
from stead.config.schema import schemas
from stead.config.settings import Settings, variable
from stead.config.validate import keys
from stead.core import errors

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
_MARK = "<!-- Written by tools/reference.py; change the code, then run it. -->\n\n"


def commands() -> str:
    """Return the help of every command."""
    text = "# Commands\n\n" + _block(_help([]))
    for name in cli.command_files():
        text += f"## stead {name}\n\n{_block(_help([name]))}"
        for inner in sorted(getattr(cli.load_command(name), "commands", {})):
            text += f"### stead {name} {inner}\n\n{_block(_help([name, inner]))}"
    return text


def _help(arguments: list[str]) -> str:
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        cli.app([*arguments, "--help"], prog_name="stead", terminal_width=100)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```\n\n"


def configuration() -> str:
    """Return every key of recipes and settings with type, default and meaning."""
    found = schemas()
    text = "# Configuration\n\nRecipes are YAML, JSON or TOML. An unknown key is refused.\n\n"
    text += _sections("", found["run"], found["run"])
    for kind in ("method", "adapter"):
        for name in registry(kind).names():
            schema = registry(kind).config_of(name).model_json_schema()
            text += f"## {kind}: {name}\n\n{_table(schema, schema)}"
    text += "## Settings\n\nIn `config.yaml` of the data directory, or as variables.\n\n"
    text += "| key | variable |\n|---|---|\n"
    leaves = [key for key in keys(Settings) if key != "log"]
    return text + "".join(f"| `{key}` | `{variable(key)}` |\n" for key in leaves)


def _sections(prefix: str, schema: dict[str, Any], root: dict[str, Any]) -> str:
    title = f"`{prefix.rstrip('.')}`" if prefix else "Top level"
    text = f"## {title}\n\n{_table(schema, root)}"
    for name, field in schema["properties"].items():
        reference = field.get("$ref") or field.get("items", {}).get("$ref")
        if reference:
            inner = root["$defs"][reference.rpartition("/")[2]]
            text += _sections(f"{prefix}{name}.", inner, root)
    return text


def _table(schema: dict[str, Any], root: dict[str, Any]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in schema.get("properties", {}).items():
        default = json.dumps(field["default"], ensure_ascii=False) if "default" in field else ""
        if "$ref" in field:
            default = ""
        meaning = field.get("description", "")
        rows.append(f"| `{name}` | {_type(field, root)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n\n"


def _type(field: dict[str, Any], root: dict[str, Any]) -> str:
    if "enum" in field or "const" in field:
        return ", ".join(f"`{v}`" for v in field.get("enum", [field.get("const")]))
    if "$ref" in field:
        return "section"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option, root) for option in field["anyOf"]))
    return {"array": "list", "object": "section", "null": "null"}.get(
        field.get("type", "section"), field.get("type", "section")
    )


def strategies() -> str:
    """Return every key of a strategy file, section by section."""
    schema = schemas()["strategy"]
    sections = [("A file", schema), *schema["$defs"].items()]
    text = "# Strategies\n\nThe guide: `docs/guides/strategies.md`. An unknown key is refused.\n\n"
    for name, section in sections:
        if section.get("properties"):
            about = section.get("description", "").splitlines()
            text += f"## {name}\n\n{about[0] if about else ''}\n\n{_table(section, schema)}"
    return text


def error_codes() -> str:
    """Return every error code with its classes, exit status and the files that raise it."""
    found: dict[str, set[str]] = defaultdict(set)
    kinds: dict[str, set[str]] = defaultdict(set)
    for source in rules.sources(ROOT, rules.Doors((), (), ())):
        for _, code, kind in rules.raised(source.tree):
            found[code].add(source.name)
            kinds[code].add(kind)
    types = errors.error_types()
    text = "# Errors\n\nCodes are stable. Exit status 2: refused input; 1: failed.\n\n"
    text += "| code | class | exit | raised in |\n|---|---|---|---|\n"
    for code in sorted(found):
        names = sorted(k for k in kinds[code] if k in types)
        status = ", ".join(sorted({str(types[k].exit_status) for k in names}))
        places = ", ".join(f"`{name}`" for name in sorted(found[code]))
        text += f"| `{code}` | {', '.join(names)} | {status} | {places} |\n"
    return text


def extensions() -> str:
    """Return every registered extension with the first line of its file."""
    text = "# Extensions\n\nOne file each; the file name is the name.\n\n"
    for kind, (package, _) in KINDS.items():
        names = registry(kind).names()
        text += f"## {kind}\n\n"
        text += "".join(f"- `{name}`: {_first_line(package, name)}\n" for name in names)
        text += "\n" if names else "None ships yet.\n\n"
    return text


def _first_line(package: str, name: str) -> str:
    path = ROOT / "src" / package.replace(".", "/") / f"{name}.py"
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else None
    return doc.splitlines()[0] if doc else "(no description)"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "configuration.md": configuration,
    "strategies.md": strategies,
    "errors.md": error_codes,
    "extensions.md": extensions,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; return the exit status."""
    stale = []
    for name, make in PAGES.items():
        text = _MARK + make().rstrip() + "\n"
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in stale:
        done = (
            "is out of date: run python tools/reference.py" if "--check" in arguments else "written"
        )
        print(f"docs/reference/{name} {done}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
