"""The training stage: prepared data and a loaded model in, a trained model folder out.

Knows nothing about surfaces, plans or evaluation by generation. Builds the parts and hands them to
the trainer; what it leaves: `metrics.jsonl`, `checkpoints/`, `final/`.
"""

import gc
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from stead.config.kinds import registry
from stead.core import files, manifest
from stead.core.errors import ConfigError, Interrupted, TrainingError
from stead.core.events import Emit, Note, Started, ignore
from stead.core.process import stop_requested
from stead.core.registry import Registry
from stead.data.pack import plan_batches
from stead.models import checkpoint
from stead.models.writing.generate import to_the_end
from stead.training.callback import Run
from stead.training.loop.build import BATCH_TOKENS, build, plain
from stead.training.loop.parts import Learning, Parts, Resume, TrainerSettings
from stead.training.loop.tools import ToGguf
from stead.training.proving.proofs import prove
from stead.training.saving import lease
from stead.training.saving.finish import finish
from stead.training.saving.resume import (
    hash_of,
    refuse_early,
    resume_run,
    rewind,
    save,
    wants_rewind,
)
from stead.training.stepping import oom
from stead.training.stepping.repeatable import repeatable
from stead.training.stepping.world import World
from stead.training.trainer import Job, Trainer
from stead.training.watching.measured import Meter
from stead.values import LoadedModel, PreparedData

TRAINERS: Registry[Trainer] = registry("trainer")

_HALVINGS = 3


def fit(  # noqa: PLR0913 - the stage's whole input, by name
    *,
    trainer: TrainerSettings,
    method_name: str,
    method_config: Any,  # Any: a mapping or the method's own config
    adapter_name: str,
    adapter_config: Any,
    prepared: PreparedData,
    loaded: LoadedModel,
    run_dir: Path,
    resume: Resume = False,
    emit: Emit = ignore,
    lineage: Mapping[str, Any] | None = None,
    world: World | None = None,
    measured: dict[str, Any] | None = None,
    to_gguf: ToGguf | None = None,
) -> dict[str, Any]:
    """Train and write `run_dir/final`; return the summary that `stead train --json` prints.

    `resume`: True or "exact" demands the same bits as a run nobody touched; "same-order" and
    "best-effort" allow changed conditions and record them. `lineage["base_hash"]` names the base.
    `measured` is filled with what the loop used; it stays empty when there was nothing to do.
    `to_gguf` writes files for a sampler that loads them.
    Raises: DataError("wrong-data-kind" | "nothing-to-train-on"), CheckpointError, ResourceError,
    TrainingError, Interrupted.
    """
    learning = Learning(method_name, plain(method_config), adapter_name, plain(adapter_config))
    world = World() if world is None else world
    with lease.held(run_dir) if world.leads else nullcontext(), repeatable(loaded.device):
        if world.leads:
            files.clean(run_dir)  # half a `final/` is as large as the model
            checkpoint.clean(run_dir)
        asked = {"config": hash_of(trainer, learning), "data": prepared.hash}
        done = _finished(run_dir, resume, asked)
        if done is not None:
            emit(Note(stage="train", message="the run is finished already; nothing to do"))
            return done
        parts = build(
            trainer, learning, prepared, loaded, run_dir, emit, dict(lineage or {}), world
        )
        parts.tools.to_gguf = to_gguf
        if world.size > 1:  # all see a stop together, between steps
            parts.tools.halt = to_the_end
        try:
            refuse_early(parts, resume)
            if trainer.proofs:
                prove(parts)
            resume_run(parts, resume)
            meter = Meter()
            run = _run(parts)
            if measured is not None:
                measured |= meter.read(parts, run)  # before `finish` ends the lanes
            return finish(parts, run)
        except Interrupted as error:
            error.hint = f"stead runs resume {shlex.quote(str(run_dir))}"
            raise
        finally:
            parts.stepper.close()
            parts.log.close()


def refuse_finished(run_dir: Path, resume: Resume) -> None:
    """Refuse to begin where a run has finished. Raises: ConfigError("run-exists")."""
    if resume is False and (run_dir / "final").exists():
        raise ConfigError(
            "run-exists",
            f"{str(run_dir)!r} holds a finished run; nothing is overwritten",
            hint="stead train RECIPE --out another-folder",
        )


def _finished(run_dir: Path, resume: Resume, asked: dict[str, str]) -> dict[str, Any] | None:
    """Return the result of a run that was finished before it was resumed; refuse one of other settings."""
    final, result = run_dir / "final", run_dir / "result.json"
    if not final.exists():
        return None
    refuse_finished(run_dir, resume)
    manifest.verify(final)
    had = files.read_json(final / "stead.json")["fingerprint"]
    other = [name for name, value in asked.items() if had[name] != value]
    if other and resume in (True, "exact"):
        raise ConfigError(
            "run-exists",
            f"{str(run_dir)!r} holds a finished run of another {' and '.join(other)}; nothing is left to resume",
            hint="stead train RECIPE --out another-folder",
        )
    if not result.is_file():  # killed between the two: the numbers are in final/stead.json
        files.write_json(result, files.read_json(final / "stead.json")["result"])
    found: dict[str, Any] = files.read_json(result)
    return found


def _run(parts: Parts) -> Run:
    parts.emit(Started(stage="train", total=parts.steps.total, unit="step", info=_facts(parts)))

    def batches(step: int) -> list[Any]:
        rows = parts.adjustments.cut(step, parts.steps.rows(step))
        with oom.typed(f"making the batch of step {step + 1}"):
            return parts.method.gather(parts.tools, step, rows)

    job = Job(
        start=parts.start, total=parts.steps.total, batches=batches, epoch_at=parts.steps.epoch_at,
        schedule=parts.schedule, stepper=parts.stepper, callbacks=list(parts.callbacks.values()), log=parts.log,
        save=lambda run: save(parts, run), evaluation=lambda: _evaluation(parts),
        stop_requested=lambda: parts.world.any(stop_requested.is_set()), emit=parts.emit, tokens=parts.tokens,
        allow=_guard(parts).allow, rewind=lambda run: rewind(parts, run),
        left_out=parts.adjustments.is_skipped, smaller=lambda step, why: _smaller(parts, step, why),
        facts=lambda step: _split_at(parts, step), out_of_memory=oom.OutOfMemory,
        examine=lambda: _examined(parts),
    )  # fmt: skip
    if parts.start == 0 and wants_rewind(parts):
        save(parts, Run(total=job.total, emit=job.emit, save=_nothing, evaluate=_nothing))
    try:
        return TRAINERS.create(parts.trainer.type).fit(job)
    except TrainingError as error:
        if error.code == "out-of-memory" and not parts.trainer.gradient_checkpointing:
            recipe = shlex.quote(str(parts.run_dir / "run.yaml"))
            error.hint = f"stead train {recipe} -s trainer.gradient_checkpointing=true --resume-level best-effort"
        raise


def _examined(parts: Parts) -> dict[str, float]:
    with parts.tools.whole():
        return parts.method.examine(parts.tools)


def _nothing() -> None:
    return None


def _guard(parts: Parts) -> Any:  # Any: extensions are known by name only
    return parts.callbacks["guard"]


def _split_at(parts: Parts, step: int) -> dict[str, Any]:
    split = parts.adjustments.parts_at(step)
    return {"split": split} if split > 1 else {}


def _smaller(parts: Parts, step: int, why: str) -> None:
    """Cut micro-batches in twice as many parts, at most three times. Raises: TrainingError."""
    gc.collect()
    if parts.loaded.device.type == "cuda":
        torch.cuda.empty_cache()
    rows = parts.adjustments.cut(step, parts.steps.rows(step))
    most = max(map(len, rows))
    halved = parts.adjustments.parts_at(step)
    whole = not parts.method.separable  # its loss would be another one in smaller parts
    if whole or most == 1 or halved >= 2**_HALVINGS or parts.world.size > 1:  # others wait in a sum
        lengths = parts.method.lengths(parts.train)
        tokens = max(int(sum(lengths[r] for r in micro)) for micro in rows)
        raise TrainingError(
            "out-of-memory",
            f"{why}; micro-batches of {most} rows and {tokens} tokens are still too large "
            f"(each was cut in {halved})",
            rows=most, tokens=tokens,
        )  # fmt: skip
    count = parts.adjustments.split(step)
    parts.emit(Note(stage="train", level="warning", code="smaller-batches",
                    message=f"{why}; from step {step + 1} on each micro-batch is computed in {count} parts, "
                    "with the same rows in each step"))  # fmt: skip


def _evaluation(parts: Parts) -> list[Any]:
    columns = parts.held_out
    if columns is None:
        return []
    lengths = parts.method.lengths(columns)
    rows = plan_batches(lengths, batch_tokens=BATCH_TOKENS, seed=0, epoch=0, shuffle=False)
    return [parts.method.flatten(columns, list(map(int, r))) for r in rows]


def _facts(parts: Parts) -> dict[str, Any]:
    trained = sum(p.numel() for p in parts.optimizer.parameters.values())
    whole = sum(p.numel() for p in parts.loaded.model.parameters())
    return {
        "method": parts.learning.method,
        "adapter": parts.learning.adapter,
        "rows": parts.train.rows,
        "trained_parameters": trained,
        "parameters": whole,
        "lanes": parts.lanes,
        "fused": len(parts.stepper.learner.fused),
        "start": parts.start,
        **{k: v for k, v in parts.loaded.meta.items() if isinstance(v, dict)},
    }
