"""Use case "prove": check mask, labels, packing and accumulation of a plan, in a worker.

Knows nothing about how a proof is made.
"""

import tempfile
from pathlib import Path
from typing import Any

from stead.app.runs import launch
from stead.core.events import Emit, ignore
from stead.planning.plan import Plan


def prove(plan: Plan, emit: Emit = ignore) -> list[dict[str, Any]]:  # Any: JSON values
    """Return the proofs of a plan: name, state, message, figures. Nothing is trained."""
    with tempfile.TemporaryDirectory(prefix="stead-prove-") as folder:
        found = launch("prove", {"plan": plan.to_json()}, Path(folder), emit)
    proofs: list[dict[str, Any]] = found["proofs"]
    return proofs
