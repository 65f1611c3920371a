"""Use case of pruning: make a model smaller without training, in a worker.

Knows nothing about how weights are chosen. The worker's job folder lies below the data directory.
"""

from pathlib import Path
from typing import Any

from stead.app import runs
from stead.core.events import Emit, ignore
from stead.core.paths import Home


def prune(
    model: str,
    out: Path,
    choice: dict[str, Any],  # Any: fields of the adapter `pruning`
    *,
    data: str | None = None,
    rows: int = 128,
    emit: Emit = ignore,
) -> dict[str, Any]:  # Any: JSON values
    """Prune a model in a worker; result and errors as `training.prune.prune`."""
    shown = None if data is None else {"data": str(Path(data).absolute()), "rows": rows}
    path = Path(model).expanduser()
    spec = {
        "model": str(path.absolute()) if path.exists() else model,
        "out": str(out.absolute()),
        "choice": choice,
        "calibration": shown,
    }
    return runs.launch("prune", spec, Home.find().ensure().runs / runs.new_id("prune"), emit)
