"""The gradient of each method's whole loss, through a real model, is the slope of that loss."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import rl

from stead.config.kinds import registry
from stead.core.events import ignore
from stead.models.layers import layers
from stead.models.learner import Learner
from stead.models.load import load_model
from stead.training.loop.tools import Tools
from stead.training.rows.batches import Columns

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {"beta": 0.3, "epsilon": 0.5, "loss_type": "grpo"}),
    "dapo": ("grpo", {"beta": 0.3, "epsilon_high": 0.6, "kl_estimator": "k2"}),
    "gspo": ("grpo", {"importance_sampling_level": "sequence", "epsilon": 0.5}),
    "rloo": ("rloo", {"epsilon": 0.5}),
    "ppo": ("ppo", {"num_generations": 4, "cliprange": 0.5}),
}
MOVE = 0.02  # how far weights are from those that wrote the answers, so that ratios are not 1


@pytest.mark.parametrize("case", CASES)
def test_the_slope_along_the_gradient_is_its_length(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    name, more = CASES[case]
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    found = registry("adapter")
    adapter = found.create("lora", config=found.config_of("lora")(dropout=0.0))
    adapter.wrap(loaded.model, layers, 1)
    data = rl.rows(tmp_path / "rows", tiny_model)
    methods = registry("method")
    method = methods.create(name, config=methods.config_of(name)(**rl.config(num_iterations=2, **more)))  # fmt: skip
    learner = Learner(loaded)
    train = Columns(data, "train", method.columns)
    tools = Tools(learner, loaded, adapter, train, None, 1, 7, tmp_path, ignore)
    method.setup(tools)
    (batch,) = method.gather(tools, 0, [[0, 1]])
    weights = [p for _, p in learner.trained()] + list(method.parameters().values())
    with torch.no_grad():
        method.loss(learner, batch)  # the first pass: "old" is what wrote the answers
    draw = torch.Generator().manual_seed(0)
    move(weights, [torch.randn(w.shape, generator=draw) for w in weights], MOVE)

    gradients = torch.autograd.grad(
        method.loss(learner, batch).total, weights, allow_unused=True, materialize_grads=True
    )
    length = float(torch.stack([g.norm() for g in gradients]).norm())
    along = [g / length for g in gradients]
    slopes = []
    small = min(1e-2, 0.1 / length)  # steep losses bend, and pass clipping bounds, sooner
    for step in (small, 2 * small):  # Richardson: the error of order step² cancels
        values = []
        for sign in (1, -1):
            move(weights, along, sign * step)
            with torch.no_grad():
                values.append(float(method.loss(learner, batch).total.double()))
            move(weights, along, -sign * step)
        slopes.append((values[0] - values[1]) / (2 * step))
    slope = (4 * slopes[0] - slopes[1]) / 3

    assert length > 1e-2
    assert slope == pytest.approx(length, rel=1e-3)  # float32 losses: about 1e-7 / step


@torch.no_grad()
def move(weights: list[torch.Tensor], along: list[torch.Tensor], step: float) -> None:
    for weight, direction in zip(weights, along, strict=True):
        weight.add_(direction, alpha=step)
    torch.autograd.graph.increment_version(weights)
