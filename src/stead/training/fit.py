"""The training stage: prepared data and a loaded model in, a trained model folder out.

Knows nothing about surfaces, plans or evaluation by generation. Builds the parts and hands them to
the trainer; what it leaves: `metrics.jsonl`, `checkpoints/`, `final/`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from stead.config.kinds import registry
from stead.core import files, manifest
from stead.core.errors import ConfigError, DataError
from stead.core.events import Emit, Note, Saved, Started, ignore
from stead.core.process import stop_requested
from stead.core.registry import Registry
from stead.data.pack import plan_batches
from stead.models import checkpoint, lowrank
from stead.models.adapter import Adapter, Origin
from stead.models.learner import Learner, LearnerOptions
from stead.training import fingerprint, lease
from stead.training.batches import Columns
from stead.training.callback import Callback, Run, peak_rss_mib
from stead.training.log import NAME as LOG_NAME
from stead.training.log import StepLog
from stead.training.method import Method
from stead.training.optim import Optimizer, OptimOptions, Schedule
from stead.training.step import Stepper
from stead.training.steps import Steps
from stead.training.trainer import Job, Trainer
from stead.values import LoadedModel, PreparedData

METHODS: Registry[Method] = registry("method")
ADAPTERS: Registry[Adapter] = registry("adapter")
TRAINERS: Registry[Trainer] = registry("trainer")
CALLBACKS: Registry[Callback] = registry("callback")

Resume = Literal[False, True, "exact", "same-order", "best-effort"]
_BATCH_TOKENS = 2048  # when nobody decided: a few rows, some hundred MB of activations
_CHECKPOINTS_PER_RUN = 10
_CHUNK = 256  # labelled tokens with logits at once: 16 MB at 32,000 words in bf16
_GROUPS = ("model", "optimizer")


class TrainerSettings(Protocol):
    """The attributes of `config/run.TrainerSection` that the loop reads; Any: a number or "auto"."""

    @property
    def type(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def epochs(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def max_steps(self) -> int | None: ...  # noqa: D102 - described where it is declared
    @property
    def batch_tokens(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def batch_rows(self) -> int | None: ...  # noqa: D102 - described where it is declared
    @property
    def accumulation(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def lr(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def schedule(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def warmup(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def weight_decay(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def clip(self) -> float: ...  # noqa: D102 - described where it is declared
    @property
    def optimizer(self) -> str: ...  # noqa: D102 - described where it is declared
    @property
    def betas(self) -> tuple[float, float]: ...  # noqa: D102 - described where it is declared
    @property
    def seed(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def shuffle(self) -> bool: ...  # noqa: D102 - described where it is declared
    @property
    def gradient_checkpointing(self) -> bool: ...  # noqa: D102 - described where it is declared
    @property
    def checkpoint_every(self) -> Any: ...  # noqa: D102 - described where it is declared
    @property
    def keep(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def log_every(self) -> int: ...  # noqa: D102 - described where it is declared
    @property
    def eval_every(self) -> int | None: ...  # noqa: D102 - described where it is declared
    @property
    def logits_chunk(self) -> Any: ...  # noqa: D102 - described where it is declared


@dataclass(frozen=True, slots=True)
class Learning:
    """What is learnt and how: method and adapter, by name and settings."""

    method: str
    method_config: Mapping[str, Any]  # Any: settings, checked by the method's config class
    adapter: str
    adapter_config: Mapping[str, Any]


@dataclass(slots=True)
class _Parts:
    """Everything that was built for one run."""

    trainer: TrainerSettings
    learning: Learning
    prepared: PreparedData
    loaded: LoadedModel
    run_dir: Path
    emit: Emit
    lineage: dict[str, Any]
    method: Method
    adapter: Adapter
    train: Columns
    held_out: Columns | None
    steps: Steps
    schedule: Schedule
    optimizer: Optimizer
    stepper: Stepper
    log: StepLog
    lanes: int
    callbacks: dict[str, Callback] = field(default_factory=dict)
    resumes: list[dict[str, Any]] = field(default_factory=list)
    start: int = 0
    tokens: int = 0

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.run_dir / "checkpoints"


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
) -> dict[str, Any]:
    """Train and write `run_dir/final`; return the summary that `stead train --json` prints.

    `resume`: True or "exact" demands the same bits as a run nobody touched; "same-order" and
    "best-effort" allow changed conditions and record them. `lineage["base_hash"]` names the base.
    Raises: DataError("wrong-data-kind" | "nothing-to-train-on"), CheckpointError, ResourceError,
    TrainingError, Interrupted.
    """
    learning = Learning(method_name, _plain(method_config), adapter_name, _plain(adapter_config))
    with lease.held(run_dir):
        done = _finished(run_dir, resume)
        if done is not None:
            emit(Note(stage="train", message="the run is finished already; nothing to do"))
            return done
        parts = _build(trainer, learning, prepared, loaded, run_dir, emit, dict(lineage or {}))
        try:
            _resume(parts, resume)
            run = _run(parts)
            return _finish(parts, run)
        finally:
            parts.stepper.close()
            parts.log.close()


def _plain(config: Any) -> dict[str, Any]:
    if config is None:
        return {}
    return dict(config) if isinstance(config, Mapping) else dict(config.model_dump())


def _finished(run_dir: Path, resume: Resume) -> dict[str, Any] | None:
    """Return the result of a run that was finished before it was resumed."""
    final, result = run_dir / "final", run_dir / "result.json"
    if not final.exists():
        return None
    if resume is False:
        raise ConfigError(
            "run-exists",
            f"{str(run_dir)!r} holds a finished run; nothing is overwritten",
            hint="stead train --out another-folder",
        )
    manifest.verify(final)
    if not result.is_file():  # killed between the two: the numbers are in final/stead.json
        files.write_json(result, files.read_json(final / "stead.json")["result"])
    found: dict[str, Any] = files.read_json(result)
    return found


def _build(
    trainer: TrainerSettings, learning: Learning, prepared: PreparedData, loaded: LoadedModel,
    run_dir: Path, emit: Emit, lineage: dict[str, Any],
) -> _Parts:  # fmt: skip
    method = METHODS.create(learning.method, config=_config(METHODS, learning.method, learning.method_config))  # fmt: skip
    adapter = ADAPTERS.create(learning.adapter, config=_config(ADAPTERS, learning.adapter, learning.adapter_config))  # fmt: skip
    if prepared.kind not in method.kinds:
        raise DataError(
            "wrong-data-kind",
            f"the method {learning.method!r} needs {' or '.join(method.kinds)} rows, the data are {prepared.kind!r}",
        )
    adapter.wrap(loaded.model, lowrank, trainer.seed)
    learner = Learner(
        loaded,
        LearnerOptions(_number(trainer.logits_chunk, _CHUNK), trainer.gradient_checkpointing),
    )
    lanes = _lanes(loaded)
    train = Columns(prepared, "train", method.columns)
    steps = Steps(_planner(trainer, train), trainer.epochs, trainer.accumulation, trainer.max_steps)
    optimizer = Optimizer(
        learner.trained(),
        OptimOptions(trainer.optimizer, trainer.betas, trainer.weight_decay, trainer.clip),
    )
    peak = _number(trainer.lr, 2e-4 if adapter.kind == "adapter" else 2e-5)
    return _Parts(
        trainer, learning, prepared, loaded, run_dir, emit, lineage, method, adapter, train,
        Columns(prepared, "eval", method.columns) if prepared.splits.get("eval") else None,
        steps, Schedule(trainer.schedule, peak, trainer.warmup, steps.total), optimizer,
        Stepper(learner, method, optimizer, seed=trainer.seed, lanes=lanes),
        StepLog(run_dir / LOG_NAME), lanes,
    )  # fmt: skip


def _config(registry: Registry[Any], name: str, settings: Mapping[str, Any]) -> Any:
    values = {k: v for k, v in settings.items() if k != "type"}
    try:
        return registry.config_of(name)(**values)
    except ValueError as error:  # pydantic's own message names the field and the value
        raise ConfigError(
            f"bad-{registry.kind}", f"the {registry.kind} {name!r}: {error}"
        ) from error


def _number(value: Any, default: Any) -> Any:
    return default if value == "auto" or value is None else value


def _lanes(loaded: LoadedModel) -> int:
    """Return how many parts of a step run side by side: one per CPU thread, one on other devices.

    A model that draws from torch's own generator has one, because its draws have an order.
    """
    config = loaded.model.config
    draws = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in loaded.model.modules())
    draws |= bool(getattr(config, "attention_dropout", 0.0) or 0.0)
    return 1 if loaded.device.type != "cpu" or draws else min(2, torch.get_num_threads())


def _planner(trainer: TrainerSettings, columns: Columns) -> Callable[[int], Any]:
    tokens = (
        None if trainer.batch_rows is not None else _number(trainer.batch_tokens, _BATCH_TOKENS)
    )

    def plan(epoch: int) -> Any:
        return plan_batches(
            columns.lengths, batch_tokens=tokens, batch_rows=trainer.batch_rows,
            seed=trainer.seed, epoch=epoch, shuffle=trainer.shuffle,
        )  # fmt: skip

    return plan


def _print(parts: _Parts) -> dict[str, Any]:
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


def _resume(parts: _Parts, resume: Resume) -> None:
    """Go back to the newest good checkpoint, or start at the beginning and say so."""
    every = parts.trainer.checkpoint_every
    every = _number(every, max(1, parts.steps.total // _CHECKPOINTS_PER_RUN))
    parts.callbacks = {
        "guard": CALLBACKS.create("guard"),
        "evaluate": CALLBACKS.create("evaluate", every=parts.trainer.eval_every),
        "progress": CALLBACKS.create("progress", every=parts.trainer.log_every),
        "checkpoint": CALLBACKS.create("checkpoint", every=every),
    }
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


def _restore(parts: _Parts, path: Path, allowed: str, found: Any) -> None:
    state = checkpoint.load(found, _GROUPS)
    present = _print(parts)
    level = fingerprint.check(state.values["fingerprint"], present, allowed)
    parts.optimizer.restore(dict(state.tensors["model"]), dict(state.tensors["optimizer"]))
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


def _save(parts: _Parts, run: Run) -> None:
    values = {
        "step": run.step,
        "tokens": run.tokens,
        "scaler": {"scale": parts.stepper.scaler.scale, "good": parts.stepper.scaler.good},
        "log": parts.log.position(),
        "callbacks": {n: c.state() for n, c in parts.callbacks.items()},
        "fingerprint": _print(parts),
        "resumes": parts.resumes,
    }
    tensors = {"model": parts.optimizer.weights(), "optimizer": parts.optimizer.state()}
    checkpoint.save(parts.checkpoints, run.step, checkpoint.State(tensors, values), parts.emit)
    checkpoint.retire(parts.checkpoints, parts.trainer.keep)


def _run(parts: _Parts) -> Run:
    lanes = parts.lanes
    parts.emit(Started(stage="train", total=parts.steps.total, unit="step", info=_facts(parts)))

    def batches(step: int) -> list[Any]:
        return [
            parts.train.batch(part)
            for rows in parts.steps.rows(step)
            for part in parts.train.deal(rows, lanes)
        ]

    job = Job(
        start=parts.start, total=parts.steps.total, batches=batches, epoch_at=parts.steps.epoch_at,
        schedule=parts.schedule, stepper=parts.stepper, callbacks=list(parts.callbacks.values()), log=parts.log,
        save=lambda run: _save(parts, run), evaluation=lambda: _evaluation(parts),
        stop_requested=stop_requested.is_set, emit=parts.emit, tokens=parts.tokens,
    )  # fmt: skip
    return TRAINERS.create(parts.trainer.type).fit(job)


def _evaluation(parts: _Parts) -> list[Any]:
    columns = parts.held_out
    if columns is None:
        return []
    rows = plan_batches(columns.lengths, batch_tokens=_BATCH_TOKENS, seed=0, epoch=0, shuffle=False)
    return [columns.batch(list(map(int, r))) for r in rows]


def _facts(parts: _Parts) -> dict[str, Any]:
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


def _finish(parts: _Parts, run: Run) -> dict[str, Any]:
    """Write `final/`, then `result.json`."""
    losses = parts.log.losses()
    result = {
        "run": parts.run_dir.name,
        "out": str(parts.run_dir),
        "final": str(parts.run_dir / "final"),
        "kind": parts.adapter.kind,
        "steps": run.step,
        "tokens": run.tokens,
        "seconds": round(run.seconds, 3),
        "tokens_per_s": round((run.tokens - parts.tokens) / max(run.seconds, 1e-9), 1),
        "final_loss": losses[-1],
        "mean_loss": sum(losses) / len(losses),
        "eval_loss": parts.callbacks["evaluate"].state()["last"],
        "peak_rss_mib": peak_rss_mib(),
        "resume_level": _lowest(parts.resumes),
    }
    final = parts.run_dir / "final"
    manifest.commit(final, parts.adapter.kind, lambda folder: _fill(parts, folder, result))
    result["weights_sha256"] = _weights_hash(final)
    files.write_json(parts.run_dir / "result.json", result)
    parts.emit(Saved(stage="train", path=str(final), what=parts.adapter.kind))
    return result


def _fill(parts: _Parts, folder: Path, result: dict[str, Any]) -> None:
    origin = Origin(parts.loaded.folder, str(parts.lineage.get("base_hash", "")), parts.lineage)
    with checkpoint.translated(folder):
        parts.stepper.close()  # weights are plain tensors again
        parts.adapter.save(parts.loaded.model, lowrank, folder, origin)
    result["weights_sha256"] = _weights_hash(folder)
    stead = {
        "base": str(parts.loaded.folder),
        "base_hash": origin.base_hash,
        "data_hash": parts.prepared.hash,
        "lineage": parts.lineage,
        "fingerprint": _print(parts),
        "resumes": parts.resumes,
        "result": result,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    files.write_json(folder / "stead.json", stead)


def _weights_hash(folder: Path) -> str:
    """Return the SHA-256 over the weight files, one file's own or all files' together."""
    found = {p.name: files.hash_file(p) for p in sorted(folder.glob("*.safetensors"))}
    return next(iter(found.values())) if len(found) == 1 else files.hash_value(found)


def _lowest(resumes: list[dict[str, Any]]) -> str:
    levels = [r["level"] for r in resumes]
    return max(levels, key=fingerprint.LEVELS.index, default="exact")
