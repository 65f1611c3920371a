"""Save a run's state and go back to it: what a checkpoint holds, and what must be equal.

Knows nothing about the loop.
"""

from pathlib import Path
from typing import Any

from stead.config.kinds import registry
from stead.core import files
from stead.core.errors import ConfigError
from stead.core.events import Note
from stead.core.registry import Registry
from stead.models import checkpoint
from stead.training import fingerprint
from stead.training.build import number
from stead.training.callback import Callback, Run
from stead.training.method import Kept
from stead.training.parts import Parts, Resume, TrainerSettings

CALLBACKS: Registry[Callback] = registry("callback")

_CHECKPOINTS_PER_RUN = 10
_GROUPS = ("model", "optimizer", "extra")


def print_of(parts: Parts) -> dict[str, Any]:
    """Return the fingerprint: everything that must be equal for the same bits."""
    names = [n for n in dir(TrainerSettings) if n[0] != "_" and n not in ("keep", "log_every")]
    config = {n: getattr(parts.trainer, n) for n in names} | {
        "method": dict(parts.learning.method_config, type=parts.learning.method),
        "adapter": dict(parts.learning.adapter_config, type=parts.learning.adapter),
    }
    return fingerprint.fingerprint(
        model=str(parts.lineage.get("base_hash") or parts.loaded.meta.get("hash", "")),
        data=parts.prepared.hash,
        config=files.hash_value(config),
        library=str(parts.loaded.meta.get("transformers", "")),
        device=parts.loaded.device,
        dtype=parts.loaded.dtype,
        lanes=parts.lanes,
    )


def resume_run(parts: Parts, resume: Resume) -> None:
    """Go back to the newest good checkpoint, or start at the beginning and say so."""
    every = parts.trainer.checkpoint_every
    every = number(every, max(1, parts.steps.total // _CHECKPOINTS_PER_RUN))
    parts.callbacks = {
        "guard": CALLBACKS.create("guard"),
        "evaluate": CALLBACKS.create("evaluate", every=parts.trainer.eval_every),
        "progress": CALLBACKS.create("progress", every=parts.trainer.log_every),
        "checkpoint": CALLBACKS.create("checkpoint", every=every),
    }
    for name, arguments in parts.method.callbacks().items():
        parts.callbacks[name] = CALLBACKS.create(name, **arguments)
    found = checkpoint.newest(parts.checkpoints, parts.emit)
    if resume is False:
        if found is not None:
            raise ConfigError(
                "run-exists",
                f"{str(parts.run_dir)!r} holds checkpoints up to step {found.step}; nothing is overwritten",
                hint="stead train --resume",
            )
        parts.log.rewind({"bytes": 0, "sha256": _EMPTY})
        return
    if found is None:
        parts.log.rewind({"bytes": 0, "sha256": _EMPTY})
        parts.emit(Note(stage="train", code="nothing-to-resume",
                        message="nothing was saved yet: training starts at the beginning"))  # fmt: skip
        return
    _restore(parts, found.path, "exact" if resume is True else resume, found)


_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing


def _restore(parts: Parts, path: Path, allowed: str, found: Any) -> None:
    state = checkpoint.load(found, _GROUPS)
    present = print_of(parts)
    level = fingerprint.check(state.values["fingerprint"], present, allowed)
    parts.optimizer.restore(dict(state.tensors["model"]), dict(state.tensors["optimizer"]))
    _restore_extra(parts, state)
    parts.stepper.scaler.scale = state.values["scaler"]["scale"]
    parts.stepper.scaler.good = state.values["scaler"]["good"]
    parts.log.rewind(state.values["log"])
    for name, callback in parts.callbacks.items():
        callback.restore(state.values["callbacks"][name])
    parts.start, parts.tokens = found.step, state.values["tokens"]
    parts.resumes = list(state.values["resumes"])
    if level != "exact":
        parts.resumes.append({"step": found.step, "level": level})
    parts.emit(Note(stage="train", code="resumed",
                    message=f"resumed after step {found.step} of {parts.steps.total} (level: {level})"))  # fmt: skip


def _restore_extra(parts: Parts, state: checkpoint.State) -> None:
    method, adapter = ({}, {})  # type: tuple[dict[str, Any], dict[str, Any]]
    for name, tensor in state.tensors["extra"].items():
        owner, own = name.split(".", 1)
        (method if owner == "method" else adapter)[own] = tensor
    parts.adapter.restore(adapter, state.values["adapter"])
    parts.method.restore(Kept(method, state.values["method"]))


def save(parts: Parts, run: Run) -> None:
    """Commit a checkpoint of this step, then retire old ones."""
    method, (tensors_of_adapter, values_of_adapter) = parts.method.state(), parts.adapter.state()
    values = {
        "step": run.step,
        "method": method.values,
        "adapter": values_of_adapter,
        "tokens": run.tokens,
        "scaler": {"scale": parts.stepper.scaler.scale, "good": parts.stepper.scaler.good},
        "log": parts.log.position(),
        "callbacks": {n: c.state() for n, c in parts.callbacks.items()},
        "fingerprint": print_of(parts),
        "resumes": parts.resumes,
    }
    extra = {f"method.{n}": t for n, t in method.tensors.items()}
    extra |= {f"adapter.{n}": t for n, t in tensors_of_adapter.items()}
    tensors = {
        "model": parts.optimizer.weights(), "optimizer": parts.optimizer.state(), "extra": extra,
    }  # fmt: skip
    checkpoint.save(parts.checkpoints, run.step, checkpoint.State(tensors, values), parts.emit)
    checkpoint.retire(parts.checkpoints, parts.trainer.keep)
