"""The worker program for verbs without heavy libraries: `python -m stead.worker.light job.json`.

Knows nothing about who started it; `core/working` is what it does around the verb.
"""

import sys
from pathlib import Path
from typing import Any

from stead.app.models import Models
from stead.app.publishing import Publishing, Wanted
from stead.config.settings import read_settings
from stead.core.events import Emit
from stead.core.paths import Home
from stead.core.working import Verbs, work


def download(
    ref: str, emit: Emit, name: str | None = None, copy: bool = False
) -> dict[str, Any]:  # Any: JSON values
    """Acquire a model and check that it is one; return its entry and facts."""
    home = Home.find().ensure()
    models = Models(home, offline=read_settings(home).value.offline)
    entry, info = models.add(ref, name=name, copy=copy, emit=emit)
    return entry.to_dict() | {"hash": info.hash, "kind": info.kind, "family": info.family}


def upload(emit: Emit, dry_run: bool = False, **wanted: Any) -> dict[str, Any]:  # Any: JSON values
    """Publish a model with this machine's own token; return what the hub says it has, or what would be sent."""
    home = Home.find().ensure()
    publishing = Publishing(home, offline=read_settings(home).value.offline)
    return publishing.upload(Wanted(**wanted), dry_run=dry_run, emit=emit)


if __name__ == "__main__":
    verbs: Verbs = {"download": download, "upload": upload}
    raise SystemExit(work(Path(sys.argv[1]), verbs, halting=("download",)))
