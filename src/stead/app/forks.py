"""Use case "fork": a new run by a former one's recipe with other settings, from one of its checkpoints or anew.

Knows nothing about how anything is shown. A fork's folder begins with the checkpoint, the log up to it, and
`fork.json`, by which the trainer accepts other settings at that one step.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stead.app import run_control, run_folders, run_reading, runs
from stead.app.plans import make_plan
from stead.config import load as config_files
from stead.core import files
from stead.core.errors import CheckpointError, ConfigError, NotFound
from stead.core.paths import Home
from stead.planning.plan import Plan
from stead.training.loop.log import NAME as LOG
from stead.training.saving.forked import Fork
from stead.values import Checkpoint

Json = dict[str, Any]  # Any: JSON values
_OTHER_TENSORS = ("model.path", "model.revision", "method.type", "adapter.", "trainer.optimizer", "trainer.ema")  # fmt: skip
_SAME_TENSORS = ("adapter.dropout",)
_PLACES = ("name", "out")
_BEST = "best"


def fork(
    source: Path,
    changes: Mapping[str, Any],
    *,
    step: int | None = None,
    out: Path | None = None,
    name: str | None = None,
    home: Home | None = None,
) -> Plan:
    """Plan a fork and make its folder ready; return the placed plan, to be trained with `resume` if `step` is given.

    `changes` are dotted keys. Raises: as `prepare`; ConfigError for a recipe that is none.
    """
    home = Home.find().ensure() if home is None else home
    config = run_control.changed(run_control.recipe(source), dict(changes))
    if name is not None:
        config["name"] = name
    folder = home.runs / runs.new_id("fork") if out is None else out.absolute()
    plan = make_plan(config | {"out": str(folder)}, origin="fork", home=home)
    if step is not None:
        prepare(source, step, plan)
    return plan


def prepare(source: Path, step: int, plan: Plan) -> Fork:
    """Fill the plan's folder so that training goes on there after `step` of the run in `source`.

    Raises: NotFound("no-checkpoint") naming the steps that were kept; CheckpointError when it is damaged;
    ConfigError("fork-other-tensors") for a change that the checkpoint's tensors do not fit, ("fork-at-end"),
    ("run-exists").
    """
    saved, out = _checkpoint(source, step), Path(str(plan.config.out))
    before = run_control.flat(run_folders.plan_of(source)["config"])
    after = run_control.flat(plan.config.model_dump(mode="json"))
    changes = {k: [before.get(k), after.get(k)] for k in sorted(before | after)
               if before.get(k) != after.get(k) and k not in _PLACES}  # fmt: skip
    _refuse_misfits(changes)
    if plan.forecast.steps <= step:
        raise ConfigError(
            "fork-at-end",
            f"the fork would have {plan.forecast.steps} steps, and {step} are done; give it more",
        )
    if out.exists() and any(out.iterdir()):
        raise ConfigError("run-exists", f"{str(out)!r} is not empty; nothing is overwritten")
    made = Fork(source.name, str(source.absolute()), step, changes)
    try:
        _fill(source, saved, out)
        plan.write(out / "plan.json")
        config_files.dump(out / "run.yaml", plan.config.model_dump(mode="json"))
        made.write(out)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return made


def _checkpoint(source: Path, step: int) -> Checkpoint:
    path = source / "checkpoints" / f"step-{step:08d}"
    if not path.is_dir():
        kept = [str(one.step) for one in reversed(run_reading.checkpoints(source))]
        raise NotFound(
            "no-checkpoint",
            f"the run {source.name!r} has no checkpoint of step {step}; it kept {', '.join(kept) if kept else 'none'}",
            param="step",
        )
    return Checkpoint.open(path)


def _refuse_misfits(changes: Mapping[str, Any]) -> None:
    found = [k for k in changes if k.startswith(_OTHER_TENSORS) and k not in _SAME_TENSORS]
    if found:
        raise ConfigError(
            "fork-other-tensors",
            f"{found[0]} decides what a checkpoint holds; a fork that changes it begins anew, without a step",
            param="changes",
        )


def _fill(source: Path, saved: Checkpoint, out: Path) -> None:
    state = files.read_json(saved.path / "state.json")
    shutil.copytree(saved.path, out / "checkpoints" / saved.path.name)
    log = (source / LOG).read_bytes()[: state["log"]["bytes"]]
    if len(log) < state["log"]["bytes"]:
        raise CheckpointError("log-changed", f"{str(source / LOG)!r} ends before step {saved.step}")
    files.write_bytes(out / LOG, log)
    best = state["callbacks"].get(_BEST, {}).get("step")
    if best is not None:
        _keep_best(source, best, out)


def _keep_best(source: Path, step: int, out: Path) -> None:
    """Take along the weights that were the best so far."""
    path = source / _BEST / f"step-{step:08d}"
    if not path.is_dir():
        raise NotFound(
            "no-best-weights",
            f"the best weights then, of step {step}, were replaced by better ones since; "
            "fork from a later checkpoint, or anew",
        )
    shutil.copytree(path, out / _BEST / path.name)
