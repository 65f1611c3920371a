"""What could be wrong on this machine, checked one by one, each with what would mend it.

Knows nothing about who shows it. Changes nothing; asks no other host.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from stead.app.database import open_database
from stead.app.plugins import Plugins
from stead.config.settings import read_settings
from stead.core import hardware, lazy
from stead.core.errors import SteadError
from stead.core.paths import Home
from stead.engines.engine import ENGINES

_DISK_BYTES = 5 * 2**30  # less than a small model and its checkpoints take
_EXTRAS = {
    "train": ("torch", "transformers", "peft"), "data": ("numpy", "tokenizers"),
    "serve": ("fastapi", "uvicorn"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One check."""

    check: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    hint: str | None = None


def examine(home: Home) -> list[Finding]:
    """Check everything, in the order in which things depend on one another."""
    checks = (_python, _home, _settings, _database, _disk, _extras, _engines, _gpu, _plugins)
    return [finding for check in checks for finding in _safely(check, home)]


def _safely(check: Callable[[Home], Iterator[Finding]], home: Home) -> list[Finding]:
    try:
        return list(check(home))
    except SteadError as error:
        return [Finding(check.__name__.strip("_"), "fail", error.message, error.hint)]


def _python(_: Home) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok" if sys.version_info >= (3, 11) else "fail", version)


def _home(home: Home) -> Iterator[Finding]:
    root = home.ensure().root
    mode = root.stat().st_mode & 0o777
    if not os.access(root, os.W_OK):
        yield Finding("data directory", "fail", f"{root} cannot be written", f"ls -ld {root}")
    elif mode & 0o077:
        yield Finding("data directory", "warn", f"others may look into {root}", f"chmod 700 {root}")
    else:
        yield Finding("data directory", "ok", str(root))


def _settings(home: Home) -> Iterator[Finding]:
    notes = read_settings(home).notes
    yield Finding("settings", "warn" if notes else "ok", "; ".join(notes) if notes else "valid")


def _database(home: Home) -> Iterator[Finding]:
    database = open_database(home)
    database.close()
    yield Finding("database", "ok", "its tables are up to date")


def _disk(home: Home) -> Iterator[Finding]:
    free = hardware.disk_free(home.root)
    state: Literal["ok", "warn"] = "ok" if free >= _DISK_BYTES else "warn"
    yield Finding(
        "disk", state, f"{free / 2**30:.1f} GiB free", None if state == "ok" else "df -h ."
    )


def _extras(_: Home) -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if not lazy.installed(name)]
        if missing:
            hint = f"pip install 'stead[{extra}]'"
            yield Finding(f"extra {extra}", "warn", f"not installed: {', '.join(missing)}", hint)
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _engines(_: Home) -> Iterator[Finding]:
    for name in ENGINES.names():
        found = ENGINES.get(name).is_available()
        detail = "available" if found.ok else found.reason
        yield Finding(f"engine {name}", "ok" if found.ok else "warn", detail, found.hint)


def _gpu(_: Home) -> Iterator[Finding]:
    found = hardware.probe()
    names = ", ".join(gpu.name for gpu in found.gpus if gpu.kind == "cuda")
    if found.unused:
        yield Finding(
            "gpu", "warn", f"{names}, but torch {found.torch} is a build for processors",
            "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
        )  # fmt: skip
    else:
        yield Finding("gpu", "ok", names if names else "none: runs use the CPU")


def _plugins(home: Home) -> Iterator[Finding]:
    for plugin in Plugins(home).all():
        if plugin.state in ("changed", "missing"):
            mend = f"stead plugin enable {plugin.key}"
            yield Finding(
                f"plugin {plugin.key}", "warn", f"it is {plugin.state} and not used", mend
            )
