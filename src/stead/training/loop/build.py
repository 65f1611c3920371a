"""Build the parts of a run from settings, prepared data and a loaded model.

Knows nothing about resuming or saving.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from stead.config import pairing
from stead.config.kinds import registry
from stead.core.errors import ConfigError, DataError
from stead.core.events import Emit
from stead.core.registry import Registry
from stead.data.pack import plan_batches
from stead.hub.inspect import locate
from stead.models.adapter import Adapter
from stead.models.layers import layers
from stead.models.learner import Learner, LearnerOptions
from stead.models.lineage import check_plain
from stead.training.loop.adjust import NAME as ADJUSTMENTS
from stead.training.loop.adjust import Adjustments
from stead.training.loop.log import NAME as LOG_NAME
from stead.training.loop.log import StepLog
from stead.training.loop.parts import Learning, Parts, TrainerSettings
from stead.training.loop.tools import Tools
from stead.training.method import Method
from stead.training.optimizer import Optimizer, OptimOptions
from stead.training.rows.batches import Columns
from stead.training.rows.steps import Steps
from stead.training.schedules import Schedule
from stead.training.stepping.sharded import ShardedStepper, Shares, check, shard
from stead.training.stepping.step import Stepper
from stead.training.stepping.world import World
from stead.values import LoadedModel, PreparedData

METHODS: Registry[Method] = registry("method")
ADAPTERS: Registry[Adapter] = registry("adapter")
OPTIMIZERS: Registry[Optimizer] = registry("optimizer")

BATCH_TOKENS = 2048  # when nobody decided: a few rows, some hundred MB of activations
_CHECKPOINTS_PER_RUN = 10
_WHOLE = "training starts from weights of full precision; adapter=qlora rounds them itself"
_CHUNK = 256  # labelled tokens with logits at once: 16 MB at 32,000 words in bf16


def build(
    trainer: TrainerSettings, learning: Learning, prepared: PreparedData, loaded: LoadedModel,
    run_dir: Path, emit: Emit, lineage: dict[str, Any], world: World,
) -> Parts:  # fmt: skip
    """Build method, adapter, batches, schedule, optimizer and log; the adapter is put on the model.

    Raises: DataError("wrong-data-kind" | "nothing-to-train-on"), ConfigError("bad-pair" | …; as the
    method's `require`),
    ModelError("base-quantized").
    """
    method, adapter = _pair(learning, prepared.kind)
    method.config.require(locate)
    check_plain(loaded.folder, loaded.model.config.to_dict(), _WHOLE)
    adapter.wrap(loaded.model, layers, trainer.seed)
    learner = _learner(trainer, loaded, world)
    columns = method.columns_of(prepared.kind)
    train = Columns(prepared, "train", columns)
    held_out = Columns(prepared, "eval", columns) if prepared.splits.get("eval") else None
    tools = Tools(learner, loaded, adapter, train, held_out, 1 if world.sharded else _lanes(loaded),
                  trainer.seed, run_dir / "method", emit)  # fmt: skip
    with world.first():  # what it computes and keeps on disk, the others read
        method.setup(tools)
    planner = _planner(trainer, method.lengths(train))
    micro = trainer.accumulation * world.size  # each process brings its own micro-batches
    steps = Steps(planner, trainer.epochs, micro, trainer.max_steps, method.repeat)
    shares = Shares(world)
    stepper = _stepper(trainer, tools, method, shares, steps.total)
    peak = number(
        trainer.lr, pairing.default_lr(learning.method, learning.adapter, trainer.optimizer)
    )
    return Parts(
        trainer, learning, prepared, loaded, run_dir, emit, lineage, method, adapter, train,
        held_out, steps, _schedule(trainer, peak, steps.total), stepper.optimizer,
        stepper, StepLog(run_dir / LOG_NAME, writes=world.leads), tools, shares,
        Adjustments(run_dir / ADJUSTMENTS, writes=world.leads),
        number(trainer.checkpoint_every, max(1, steps.total // _CHECKPOINTS_PER_RUN)),
    )  # fmt: skip


def _pair(learning: Learning, kind: str) -> tuple[Method, Adapter]:
    """Return method and adapter, which go together and with the data."""
    refused = pairing.refusal(learning.method, learning.adapter)
    if refused is not None:
        raise ConfigError("bad-pair", refused)
    method = METHODS.create(learning.method, config=_config(METHODS, learning.method, learning.method_config))  # fmt: skip
    adapter = ADAPTERS.create(learning.adapter, config=_config(ADAPTERS, learning.adapter, learning.adapter_config))  # fmt: skip
    if kind not in method.kinds:
        raise DataError(
            "wrong-data-kind",
            f"the method {learning.method!r} needs {' or '.join(method.kinds)} rows, the data are {kind!r}",
        )
    return method, adapter


def _learner(trainer: TrainerSettings, loaded: LoadedModel, world: World) -> Learner:
    options = LearnerOptions(
        number(trainer.logits_chunk, _CHUNK),
        trainer.gradient_checkpointing,
        label_smoothing=trainer.label_smoothing,
        neftune_alpha=trainer.neftune_alpha,
        fuse=not world.sharded,
    )
    return Learner(loaded, options)


def _stepper(
    trainer: TrainerSettings, tools: Tools, method: Method, shares: Shares, total: int
) -> Stepper:
    """Return what takes a step, with its optimizer; with spread layers, each process has its shares."""
    learner, adapter, world = tools.model, tools.adapter, shares.world
    if world.sharded:
        check(method, adapter, OPTIMIZERS.get(trainer.optimizer), trainer)
        shard(tools.loaded.model, world)
    named = [*learner.trained(), *((f"method.{n}", p) for n, p in method.parameters().items())]
    optimizer = OPTIMIZERS.create(
        trainer.optimizer,
        named=shares.local(named),
        options=_options(trainer),
        rates=_rates(method, adapter),
    )
    stepper = (ShardedStepper if world.sharded else Stepper)(
        learner, method, adapter, optimizer,
        seed=trainer.seed, lanes=tools.lanes, total=total, world=world,
    )  # fmt: skip
    if isinstance(stepper, ShardedStepper):
        stepper.shares, optimizer.norm = shares, shares.norm
    return stepper


def _rates(method: Method, adapter: Adapter) -> Callable[[str], float]:
    """Return each parameter's factor of the learning rate, whoever owns it."""

    def rate(name: str) -> float:
        own = name.removeprefix("method.")
        return adapter.rate(name) if own == name else method.rate(own)

    return rate


def _options(trainer: TrainerSettings) -> OptimOptions:
    return OptimOptions(trainer.betas, trainer.momentum, trainer.weight_decay, trainer.clip)


def _schedule(trainer: TrainerSettings, peak: float, total: int) -> Schedule:
    return Schedule(
        trainer.schedule, peak, trainer.warmup, total, floor=trainer.lr_floor,
        decay_share=trainer.decay_share, cycles=trainer.cycles, power=trainer.power,
    )  # fmt: skip


def _config(registry: Registry[Any], name: str, settings: Mapping[str, Any]) -> Any:
    values = {k: v for k, v in settings.items() if k != "type"}
    try:
        return registry.config_of(name)(**values)
    except ValueError as error:  # pydantic's own message names the field and the value
        raise ConfigError(
            f"bad-{registry.kind}", f"the {registry.kind} {name!r}: {error}"
        ) from error


def number(value: Any, default: Any) -> Any:  # Any: int or float
    """Return a decided number, or the default for "auto" and None."""
    return default if value == "auto" or value is None else value


def _lanes(loaded: LoadedModel) -> int:
    """Return how many parts of a step run side by side: one per CPU thread, one on other devices.

    A model that draws from torch's own generator has one, because its draws have an order.
    """
    config = loaded.model.config
    draws = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in loaded.model.modules())
    draws |= bool(getattr(config, "attention_dropout", 0.0) or 0.0)
    return 1 if loaded.device.type != "cpu" or draws else min(2, torch.get_num_threads())


def _planner(trainer: TrainerSettings, lengths: Any) -> Callable[[int], Any]:  # Any: int array
    tokens = None if trainer.batch_rows is not None else number(trainer.batch_tokens, BATCH_TOKENS)

    def plan(epoch: int) -> Any:
        return plan_batches(
            lengths, batch_tokens=tokens, batch_rows=trainer.batch_rows,
            seed=trainer.seed, epoch=epoch, shuffle=trainer.shuffle,
        )  # fmt: skip

    return plan


def plain(config: Any) -> dict[str, Any]:  # Any: a mapping or a pydantic model
    """Return settings as a plain mapping."""
    if config is None:
        return {}
    return dict(config) if isinstance(config, Mapping) else dict(config.model_dump())
