"""Prune a model without training: weights, n of m, or heads and neurons, chosen once.

Knows nothing about surfaces. The choice is the adapter `pruning`'s own, asked for everything at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stead.config.kinds import registry
from stead.config.run import DataSection
from stead.core import files, manifest
from stead.core.errors import ConfigError, ModelError
from stead.core.events import Emit, Finished, Progress, Started, ignore
from stead.core.paths import Home
from stead.data import prepare as preparing
from stead.data.pack import TokenStore, make_batch, plan_batches
from stead.hub.info import ModelInfo
from stead.hub.inspect import inspect, locate
from stead.models.adapter import Adapter, Origin, Step
from stead.models.adapters.pruning import Pruning
from stead.models.layers import layers
from stead.models.learner import Learner
from stead.models.load import Device, Dtype, load_model
from stead.training.pruning.layerwise import each_layer
from stead.values import LoadedModel

_BATCH_TOKENS = 2048
_TYPES: tuple[Dtype, ...] = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rows that a model is shown to see which weights matter: their file, how many, how long."""

    data: str
    rows: int = 128  # as in arXiv:2306.11695 §4
    max_length: int = 512


def prune(
    model: str,
    out: str,
    *,
    choice: dict[str, Any],  # Any: fields of the adapter's config
    calibration: dict[str, Any] | None = None,  # Any: fields of Calibration
    dtype: Dtype = "auto",
    device: Device = "auto",
    emit: Emit = ignore,
) -> dict[str, Any]:  # Any: JSON values
    """Write the pruned model to the folder `out`; return what went and what is left.

    `dtype` auto is that of the model's files: what stays, stays to the bit.

    Raises: ModelError("not-prunable" | "no-structure" | "group-size"); ConfigError("no-calibration")
    when the choice looks at activations or gradients and no rows are given; CheckpointError("exists").
    """
    found = _found(model)
    shown = None if calibration is None else Calibration(**calibration)
    config = registry("adapter").config_of("pruning")(**choice, begin=0.0, end=0.0, every=1)
    looks = config.method == "wanda" or config.importance == "first-order"
    if looks and shown is None:
        raise ConfigError(
            "no-calibration", f"method={config.method!r} with importance={config.importance!r} looks at rows, and none are given",
            hint=f"stead prune {model} --method {config.method} --data ROWS.jsonl --out pruned",
        )  # fmt: skip
    if dtype == "auto":
        dtype = next((d for d in _TYPES if d == found.dtype), dtype)
    loaded = load_model(found.path, dtype=dtype, device=device)
    adapter = registry("adapter").create("pruning", config=config)
    adapter.wrap(loaded.model, layers, 0)
    if config.method == "wanda" and shown is not None:
        _layer_by_layer(loaded, adapter, shown, emit)
    else:
        _choose(loaded, adapter, _show(loaded, shown, emit) if looks and shown is not None else {})
    result = _written(out, loaded, adapter, choice)
    emit(Finished(stage="prune", result=result))
    return result


def _written(
    out: str, loaded: LoadedModel, adapter: Pruning, choice: dict[str, Any]
) -> dict[str, Any]:
    """Write the pruned model; return what became of it."""
    report, base = adapter.report(), {"base": str(loaded.folder)}
    before = sum(p.numel() for p in loaded.model.parameters())

    def fill(target: Path) -> None:
        adapter.save(loaded.model, layers, target, Origin(loaded.folder))
        files.write_json(target / "stead.json", {**base, "pruned": choice, **report})

    manifest.commit(Path(out), "model", fill, base)
    made = inspect(Path(out), tokenizer=False)
    return {"path": out, **report, "parameters": made.parameters, "parameters_before": before,
            "bytes": made.size_bytes}  # fmt: skip


def _found(model: str) -> ModelInfo:
    found = inspect(locate(model))
    if found.kind != "model":
        raise ModelError(
            "not-prunable", f"{model!r} is of kind {found.kind!r}; a whole model is pruned",
            hint=f"stead merge {model} --out merged",
        )  # fmt: skip
    return found


def _layer_by_layer(loaded: LoadedModel, adapter: Pruning, shown: Calibration, emit: Emit) -> None:
    named = dict(loaded.model.named_parameters())
    learner = Learner(loaded)

    def choose(names: Sequence[str]) -> None:
        weights = {n: named[n].detach().float() for n in names}
        adapter.choose_among(Step(loaded.model, weights, {}, 1, 1), names)
        for name, weight in weights.items():
            named[name].copy_(weight)

    each_layer(learner, list(_batches(loaded, shown)), adapter.matrices, choose, emit)
    learner.close()


def _show(loaded: LoadedModel, shown: Calibration, emit: Emit) -> dict[str, torch.Tensor]:
    """Run the rows through the model; return the summed gradients of their loss by parameter name."""
    names, parameters = zip(*loaded.model.named_parameters(), strict=True)
    sums = [torch.zeros_like(p, dtype=torch.float32) for p in parameters]
    learner = Learner(loaded)
    batches = list(_batches(loaded, shown))
    emit(Started(stage="prune", total=len(batches), unit="batch"))
    for number, batch in enumerate(batches):
        with learner.draw(0, number):
            total, _ = learner.label_loss(batch)
        found = torch.autograd.grad(total, parameters, allow_unused=True)
        for whole, more in zip(sums, found, strict=True):
            if more is not None:
                whole.add_(more)
        emit(Progress(stage="prune", done=number + 1))
    learner.close()
    return dict(zip(names, sums, strict=True))


def _batches(loaded: LoadedModel, shown: Calibration) -> Iterator[Any]:
    section = DataSection(path=shown.data, limit=shown.rows, eval_share=0.0)
    home = Home.find().ensure()
    ready = preparing.prepare(section, loaded.folder, home.datasets, max_length=shown.max_length)
    columns = "chosen" if ready.kind == "preference" else "tokens"
    store = TokenStore.open(ready, "train", columns)
    for rows in plan_batches(store.lengths, batch_tokens=_BATCH_TOKENS, seed=0, epoch=0):
        yield make_batch(store, rows)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is untyped here
def _choose(loaded: LoadedModel, adapter: Adapter, gradients: dict[str, torch.Tensor]) -> None:
    named = dict(loaded.model.named_parameters())
    weights = {name: p.detach().float() for name, p in named.items()}
    adapter.after_step(Step(loaded.model, weights, gradients, 1, 1))
    for name, parameter in named.items():
        parameter.copy_(weights[name])
