"""Use cases of exports: convert a model, prove that the result is the model, each in a worker.

Knows nothing about formats. A worker's job folder lies below the data directory, so that nothing but
the artifact appears where the user asked for it.
"""

from pathlib import Path
from typing import Any

from stead.app import runs
from stead.core.events import Emit, ignore
from stead.core.paths import Home


def export(
    model: str,
    out: Path,
    *,
    format: str = "gguf",
    quant: str | None = None,
    base: str | None = None,
    emit: Emit = ignore,
) -> dict[str, Any]:  # Any: JSON values
    """Export a model in a worker; result and errors as `exporting.run.run_export`."""
    spec = {
        "model": _absolute(model), "out": str(out.absolute()), "format": format, "quant": quant,
        "base": None if base is None else _absolute(base),
    }  # fmt: skip
    return runs.launch("export", spec, _folder("export"), emit)


def parity(
    model: str,
    gguf: str,
    *,
    merged: str | None = None,
    data: str | None = None,
    limit: int = 24,
    emit: Emit = ignore,
) -> dict[str, Any]:  # Any: JSON values
    """Compare a model with its exports in a worker; result and errors as `exporting.parity`."""
    spec = {
        "model": _absolute(model), "gguf": _absolute(gguf), "limit": limit,
        "merged": None if merged is None else _absolute(merged),
        "data": None if data is None else _absolute(data),
    }  # fmt: skip
    return runs.launch("parity", spec, _folder("parity"), emit)


def _absolute(name: str) -> str:
    """Return a path as absolute, and any other name (an added model) as it is."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def _folder(verb: str) -> Path:
    return Home.find().ensure().runs / runs.new_id(verb)
