"""Who watches a run: its callbacks, in the order they are called, from the trainer's settings.

Knows nothing about what they do. Order matters: the mean of the weights is brought up to date before
it is evaluated, losses are judged before they are reported, and a checkpoint is saved last.
"""

from collections.abc import Mapping
from typing import Any

from stead.config.kinds import registry
from stead.core.paths import Home
from stead.core.registry import Registry
from stead.training.callback import Callback
from stead.training.loop.parts import Parts, TrainerSettings
from stead.training.tracker import Tracked, Tracker
from stead.training.watching import ceiling, samples
from stead.training.watching.best_weights import BestWeights

CALLBACKS: Registry[Callback] = registry("callback")
TRACKERS: Registry[Tracker] = registry("tracker")
_WATCHERS = ("trackers", "samples")


def callbacks(parts: Parts) -> dict[str, Callback]:
    """Build the callbacks of a run by name."""
    trainer = parts.trainer
    found = {
        "guard": CALLBACKS.create("guard", on_nan=trainer.on_nan, on_spike=trainer.on_spike,
                                  spike_factor=trainer.spike_factor),
    }  # fmt: skip
    source = parts.optimizer.weights
    if trainer.ema is not None:
        ema = CALLBACKS.create("ema", decay=trainer.ema, read=source, put=parts.optimizer.put)
        found["ema"] = ema
        source = ema.tensors
    found["evaluate"] = CALLBACKS.create("evaluate", every=trainer.eval_every)
    if trainer.keep_best:
        kept = BestWeights(parts.own_dir / "best", source, parts.checkpoints)
        found["best"] = CALLBACKS.create("best", kept=kept)
    if trainer.patience is not None:
        found["early_stop"] = CALLBACKS.create(
            "early_stop", patience=trainer.patience, min_delta=trainer.min_delta
        )
    if trainer.samples.prompts:
        found["samples"] = CALLBACKS.create("samples", **samples.arguments(parts))
    trackers = () if trainer.trackers == "auto" or not parts.world.leads else trainer.trackers
    for name in trackers:
        found[name] = TRACKERS.create(name, tracked=_tracked(parts))
    for name, arguments in parts.method.callbacks().items():
        found[name] = CALLBACKS.create(name, **arguments)
    full_speed = ceiling.full_speed(parts.loaded, parts.steps.total, Home.find())
    found["progress"] = CALLBACKS.create("progress", every=trainer.log_every, full_speed=full_speed)
    found["checkpoint"] = CALLBACKS.create("checkpoint", every=parts.every)
    return found


def _tracked(parts: Parts) -> Tracked:
    """Describe the run for trackers: flat settings, without what is machinery."""
    learning, trainer = parts.learning, parts.trainer
    settings: dict[str, Any] = {"method": learning.method, "adapter": learning.adapter}
    for section, values in (("method", learning.method_config), ("adapter", learning.adapter_config)):  # fmt: skip
        settings |= {f"{section}.{k}": v for k, v in values.items() if k != "type"}
    names = [n for n in dir(TrainerSettings) if n[0] != "_" and n not in _WATCHERS]
    settings |= {f"trainer.{n}": getattr(trainer, n) for n in names}
    name = parts.lineage.get("name")
    return Tracked(parts.run_dir.name if name is None else str(name), parts.run_dir, settings)


def tensors(parts: Parts) -> dict[str, Any]:  # Any: torch.Tensor
    """Return every callback's tensors, whole, named "callback.<name>/<tensor>"."""
    return {
        f"callback.{name}/{key}": tensor
        for name, callback in parts.callbacks.items()
        for key, tensor in parts.shares.whole(callback.tensors()).items()
    }


def restore(parts: Parts, values: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Give every callback back its values and tensors; `found` has those without "callback."."""
    for name, callback in parts.callbacks.items():
        if name in values:  # a tracker may be added to a run that is resumed
            callback.restore(values[name])
        own = {k.partition("/")[2]: t for k, t in found.items() if k.startswith(f"{name}/")}
        callback.restore_tensors(parts.shares.cut(own))
