"""Seconds a training run takes, by part: counted work over what the machine sustains.

Knows nothing about memory or about finished runs. Units: FLOPs (a multiply-add is two), seconds of
an otherwise idle machine. What lanes do side by side is counted for the busiest lane.
"""

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.planning.disk import checkpoint_bytes, final_bytes, saves
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.machine import Machine, table
from stead.planning.memory import kernels, state_bytes
from stead.planning.shape import BYTES, Shape, shape
from stead.planning.work import Work

_PASSES = 4  # over what is kept: written and read, and the same for its gradient; partly in fp32
_ATTENTION_FLOPS = 9  # per query feature and squared length: 2 forward (half is masked), 7 backward
_ADAM_PASSES = 4  # gradient, weight and both moments, each read; three are written
_DISK_BYTES_PER_S = 500e6  # write, flush, read back and hash
_MAPPED_BYTES_PER_S = 1e9
_TOKENS_PER_S = 1.2e6  # rows to tokens, read twice


def steps(config: RunConfig, model: ModelFacts, work: Work, machine: Machine) -> dict[str, float]:
    """Return the seconds of all optimizer steps, by part.

    Products per token: 2 FLOPs per weight forward, 2 backward for activations, 2 more for the
    gradients of trained weights, 2 again when recomputed. Source: arXiv:2001.08361, section 2.1.
    """
    found = shape(model, config.adapter, config.model.device)
    own, reference = passes(config)
    method = registry("method").get(config.method.type)
    backward = float(getattr(method, "backward_passes", 1))
    live = getattr(method, "reference", "none") == "live"
    forward = own + (reference if live else 0.0)
    again = backward if config.trainer.gradient_checkpointing else 0.0
    width, rate = BYTES[config.model.dtype], machine.rate(found.hidden)
    through = found.deep / max(1, found.layers)  # the share of layers that gradients flow through
    flops = 2 * forward + 2 * through * (backward + again) + (2 * backward if found.whole else 0)
    products = (found.body * flops + found.low * 6) * work.lane_tokens
    labels = work.labels * work.lane_share
    head = 2 * found.embedding * labels * (3 if found.whole else 2) * max(forward, backward)
    flow = (
        (1 + again / 2) * found.passed * (width + 4) / 2 * _PASSES * found.deep * work.lane_tokens
    )
    squares = work.lane_squares * found.hidden * found.layers
    bandwidth = machine.bytes_per_s
    counted = {
        "products": products / rate,
        "output layer": head / rate,
        "attention": squares * _ATTENTION_FLOPS * (1 + again / 3) / machine.rate(128),
        "scores": work.lane_squares * found.heads * found.layers * found.kept.square * _PASSES / bandwidth,
        "softmax": labels * found.vocab * 4 * _PASSES / bandwidth,
        "activations": flow / bandwidth,
        "dropout": found.dropped * found.layers * work.lane_tokens * 16 / bandwidth,
        "optimizer": _optimizer(config, found, work) / bandwidth,
        "calls": work.parts * work.lane_share * found.layers * table()["call_s"][config.model.device],
        "answers": _answers(model, found, work, width, machine),
        "first calls": _first(config, found, work),
    }  # fmt: skip
    return counted


def passes(config: RunConfig) -> tuple[float, float]:
    """Return the forward passes over each token by the trained model and by its reference.

    A method's `forward_passes` count both; those of a reference are as many as the model's own.
    """
    method = registry("method").get(config.method.type)
    every = float(getattr(method, "forward_passes", 1))
    has = getattr(method, "reference", "none") != "none"
    return (every / 2, every / 2) if has else (every, 0.0)


def _answers(model: ModelFacts, found: Shape, work: Work, width: float, machine: Machine) -> float:
    """Seconds of writing answers: each position reads all weights once, each token multiplies them."""
    if work.written == 0:
        return 0.0
    read = work.positions * model.parameters * width / machine.bytes_per_s
    return read + work.written * 2 * model.parameters / machine.rate(found.hidden)


def _optimizer(config: RunConfig, found: Shape, work: Work) -> float:
    """Bytes moved to add up gradients and change weights, over all steps."""
    state = state_bytes(config, found.tables)
    each = 4 * _ADAM_PASSES + 2 * state
    return found.trained * (work.steps * each + work.parts * 12)


def _first(config: RunConfig, found: Shape, work: Work) -> float:
    """Seconds in which kernels are compiled for shapes that are new."""
    device = config.model.device
    compiled = kernels(config, found, work) * table()["kernel_s"]
    return float(table()["first_s"][device] + compiled)


def around(
    config: RunConfig,
    model: ModelFacts,
    data: DataFacts,
    work: Work,
    machine: Machine,
    step_s: float,
) -> dict[str, float]:
    """Return the seconds outside of steps, by part. `step_s` are those of all steps."""
    every, evaluations = config.trainer.checkpoint_every, config.trainer.eval_every
    made = saves(config, work.steps) if isinstance(every, int) else 0
    looks = 1 + (work.steps // evaluations if evaluations is not None else 0)
    forward = step_s / 3 / max(1.0, work.tokens)
    evaluated = work.eval_tokens * looks * forward if data.eval_rows else 0.0
    tokens = data.tokens * (1 + data.eval_rows / max(1, data.rows))
    saved = checkpoint_bytes(config, model) / _DISK_BYTES_PER_S + 0.02
    method = registry("method").get(config.method.type)
    once = getattr(method, "reference", "none") == "table"
    return {
        "start": machine.start_s,
        "prepare": tokens / _TOKENS_PER_S,
        "load": model.parameters * 4 / _MAPPED_BYTES_PER_S + 0.3,
        "reference": data.tokens * forward * passes(config)[1] if once else 0.0,
        "checkpoints": made * saved,
        "evaluation": evaluated,
        "result": final_bytes(config, model) / _DISK_BYTES_PER_S + 0.2,
    }


def per_step(seconds: float, work: Work) -> float:
    """Return the mean seconds of a step."""
    return seconds / max(1, work.steps)
