"""The line that makes models, one function per stage: prepare → load → train → evaluate → export → parity.

Knows nothing about surfaces, databases or how a Plan is made; importable from a notebook. Each
function takes a Plan or plain values and returns the next value. `VERBS` are the same functions for
the worker: JSON arguments in, JSON result out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stead.config import load as config_files
from stead.core.errors import ConfigError
from stead.core.events import Emit, ignore
from stead.core.paths import Home
from stead.data import prepare as preparing
from stead.exporting.parity import run_parity
from stead.exporting.run import run_export
from stead.models.load import load_model
from stead.models.new import new_model
from stead.planning import history
from stead.planning.plan import Plan
from stead.training.fit import METHODS, fit
from stead.values import Checkpoint, LoadedModel, PreparedData


def prepare(plan: Plan, emit: Emit = ignore) -> PreparedData:
    """Turn the plan's rows into token sequences, once: the same inputs give the same folder."""
    config = plan.config
    kinds = METHODS.get(str(config.method.type)).kinds
    return preparing.prepare(
        config.data,
        Path(plan.model["path"]),
        Home.find().ensure().datasets,
        kind_wanted=kinds[0],
        max_length=config.data.max_length,
        emit=emit,
    )


def load(plan: Plan) -> LoadedModel:
    """Load the plan's base model as the plan says."""
    section = plan.config.model
    return load_model(
        Path(plan.model["path"]),
        dtype=section.dtype,
        device=section.device,
        attention=section.attention,
    )


def train(plan: Plan, *, resume: bool = False, emit: Emit = ignore) -> Checkpoint:
    """Prepare, load and train; return the finished weights in `<out>/final`.

    `meta` is the summary that `stead train --json` prints. Raises: what the stages raise.
    """
    config = plan.config
    if config.out is None:
        raise ConfigError("missing-key", "out is missing; give it in the recipe or --out DIR")
    out = Path(config.out)
    _write_request(plan, out)
    prepared = prepare(plan, emit)
    result = fit(
        trainer=config.trainer,
        method_name=str(config.method.type),
        method_config=config.method,
        adapter_name=str(config.adapter.type),
        adapter_config=config.adapter,
        prepared=prepared,
        loaded=load(plan),
        run_dir=out,
        resume=resume,
        emit=emit,
        lineage={"base_hash": plan.model["hash"], "plan": plan.hash, "name": config.name},
    )
    actual = {"memory_bytes": result["peak_rss_mib"] * 2**20, "seconds": result["seconds"]}
    history.record(plan, actual, Home.find())
    final = Path(result["final"])
    return Checkpoint(final, int(result["steps"]), str(result["weights_sha256"]), result)


def _write_request(plan: Plan, out: Path) -> None:
    """Keep what was asked and what was decided, unless the folder holds an older run's."""
    if any((out / "checkpoints").glob("step-*")) or (out / "final").exists():
        return  # whether it may go on is the trainer's to say, by its fingerprint
    plan.write(out / "plan.json")
    config_files.dump(out / "run.yaml", plan.config.model_dump(mode="json"))


def _train_verb(plan: dict[str, Any], resume: bool, emit: Emit) -> dict[str, Any]:
    found: dict[str, Any] = train(Plan.from_json(plan), resume=resume, emit=emit).meta
    return found


VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "new": new_model,
    "train": _train_verb,
    "export": run_export,
    "parity": run_parity,
}
