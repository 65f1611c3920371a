"""The verbs of the worker: JSON arguments in, JSON result out.

Knows nothing about processes or events; `stead.worker.run` calls these by name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stead.core.events import Emit
from stead.evaluation import report
from stead.exporting.parity import run_parity
from stead.exporting.run import run_export
from stead.models.new import new_model
from stead.pipeline import stages
from stead.pipeline.evaluate import Placement, Question, evaluate
from stead.pipeline.gauge import probe
from stead.planning.plan import Plan
from stead.training.loop.parts import Resume
from stead.training.pruning.prune import prune


def train(plan: dict[str, Any], resume: Resume, emit: Emit) -> dict[str, Any]:  # Any: JSON values
    """Run a plan; return the summary of the run."""
    return stages.run(Plan.from_json(plan), resume=resume, emit=emit).meta


def prove(plan: dict[str, Any], emit: Emit) -> dict[str, Any]:  # Any: JSON values
    """Check what a plan would train on and how, before it is trained."""
    return {"proofs": stages.prove(Plan.from_json(plan), emit=emit)}


def measure(  # noqa: PLR0913 - the verb's JSON arguments, as the command line names them
    model: str,
    data: str,
    metrics: list[str],
    *,
    adapter: str | None = None,
    against: str | None = None,
    out: str | None = None,
    dtype: Any = "auto",  # Any: checked by the loader
    device: Any = "auto",
    emit: Emit,
    **asking: Any,  # Any: the other fields of Question
) -> dict[str, Any]:
    """Evaluate a model; return the report without its rows."""
    found = evaluate(
        model,
        Question(data=data, metrics=metrics, **asking),
        adapter=adapter,
        against=against,
        placement=Placement(dtype, device),
        out=None if out is None else Path(out),
        emit=emit,
    )
    summary = report.summary(found)
    if found.path is None:
        return summary
    return summary | {"out": out, "report": str(found.path / "report.html")}


VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "new": new_model,
    "train": train,
    "prove": prove,
    "evaluate": measure,
    "export": run_export,
    "parity": run_parity,
    "prune": prune,
    "probe": probe,
}
