"""Bytes a training run holds at its peak, by part: counted, before anything is learnt from runs.

Knows nothing about time. The parts of a processor's run are those of its process, those of a card
those of its memory.
"""

from typing import Any

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.core import allocator as blocks
from stead.planning.facts import DataFacts, ModelFacts
from stead.planning.machine import Machine, table
from stead.planning.shape import BYTES, Shape, shape
from stead.planning.work import Work

_MASTER = 4  # trained weights and their moments are kept in fp32
_LOGIT_COPIES = 3  # logits, their float32 form, their gradient
_BLOCK = 512  # queries per block of the attention's backward pass; models/attention
_ROWS = 256  # encoded together; data/prepare
_TOKEN_BYTES = 320  # measured: its number, its place in the text and what the encoder keeps
_SMOOTHED = 3.0  # float32 arrays of a chunk's logits; models/loss
_SCORES = 4  # scores, weights and their gradients of one block


def state_bytes(config: RunConfig, tables: float) -> float:
    """Return the bytes per trained parameter that the optimizer, the adapter and an average of weights keep.

    `tables`: share of the trained weights that are tables of words, which Muon leaves to AdamW.
    """
    rule = registry("optimizer").get(config.trainer.optimizer)
    own = float(rule.state_bytes)
    if rule.table_bytes is not None:
        own += (float(rule.table_bytes) - own) * tables
    own += float(getattr(config.adapter, "state_bytes", 0.0))
    return own + (_MASTER if config.trainer.ema is not None else 0)


def allocator(config: RunConfig, found: Shape) -> str:
    """Return whose memory a run takes: "" the C library's, "scalable" oneTBB's, "mapped" big blocks of their own.

    The fast path frees and takes few sizes and is 5 to 10 % slower with oneTBB's. Layers outside of it, whole
    models that write in between and distances over the vocabulary need 15 to 40 % less memory with it and hardly
    more time (docs/log.md); mapping costs up to half of the time again, so only where memory is what a recipe
    wants to save.
    """
    rolls = bool(getattr(registry("method").get(config.method.type), "rollout", False))
    steady = found.fused and not (rolls and found.whole) and _logit_arrays(config) == 0
    if config.model.device != "cpu" or steady:
        return ""
    if blocks.scalable():
        return "scalable"
    return "mapped" if config.trainer.gradient_checkpointing else ""


def parts(
    config: RunConfig, model: ModelFacts, data: DataFacts, work: Work, machine: Machine,
    others: int = 0,
) -> dict[str, int]:  # fmt: skip
    """Return the peak's parts in bytes. `others`: parameters of the models that the method names."""
    found = shape(model, config.adapter, config.model.device)
    width, chunk = BYTES[config.model.dtype], config.trainer.logits_chunk
    state = state_bytes(config, found.tables)
    on_cpu = config.model.device == "cpu"
    masters = _MASTER if not found.whole or width < _MASTER else 0
    most = chunk if isinstance(chunk, int) else 256
    at_once = min(most, max(1, work.labels_at_once))
    shown = max(at_once, min(most, work.asked_labels))
    more = table()["scalable_bytes"] if allocator(config, found) == "scalable" else 0.0
    counted = {
        "process": machine.process_bytes + more if on_cpu else 0.0,
        "runtime": table()["runtime_bytes"][config.model.device],
        "kernels": kernels(config, found, work) * table()["kernel_bytes"],
        "rows": _rows(data) if on_cpu else 0.0,
        "weights": _weights(config, model, found, width),
        "trained weights": found.trained * masters,
        "gradients": _gradients(found, work, width),
        "sums": _sums(found, work, width),
        "optimizer": found.trained * state,
        "activations": _activations(config, found, work, width),
        "working": _working(found, work, width),
        "held": _held(config, found, work, width),
        "attention": _attention(found, work, width),
        "logits": shown * work.busy * found.vocab * width * _has_logits(config),
        "loss": at_once * work.busy * found.vocab * 4 * _logit_arrays(config),
        "answers": work.together * found.cached * width,
        "other models": (others + _copied(config, model, found)) * width,
    }
    return {name: int(value) for name, value in counted.items()}


def load_peak(config: RunConfig, model: ModelFacts, machine: Machine) -> int:
    """Return the bytes while the model is loaded: the file is mapped and its values are converted."""
    width = BYTES[config.model.dtype]
    stored = BYTES.get(model.dtype, width)
    copies = stored + (width if width != stored else 0)
    begun = machine.process_bytes + table()["runtime_bytes"][config.model.device]
    return int(begun + model.parameters * copies)


def _weights(config: RunConfig, model: ModelFacts, found: Shape, width: float) -> float:
    """All weights, the low-rank columns beside them, and a mapped file that packing copied from."""
    bits = getattr(config.adapter, "bits", None)
    each = width if bits is None else bits / 8 + 0.5  # scales and the layer that is unpacked
    mapped = found.packed * width if model.dtype == config.model.dtype else 0.0
    return model.parameters * each + mapped + found.low * width


def kernels(config: RunConfig, found: Shape, work: Work) -> float:
    """Count the products that oneDNN compiles: one for each shape it has not met (docs/log.md).

    Per size of a part: a layer's products forward and backward, twice as many with a low-rank part;
    per length of a row: those of attention. float32 products need none.
    """
    if config.model.device != "cpu" or config.model.dtype == "fp32":
        return 0.0
    each = 12 if found.low == 0 else 24
    return float(len(work.shapes) * each + len(work.lengths) * 7)


def _rows(data: DataFacts) -> float:
    """Rows while they are prepared: a batch of them as Python numbers."""
    mean = data.tokens / max(1, data.rows)
    return min(_ROWS, data.rows) * mean * _TOKEN_BYTES


def _gradients(found: Shape, work: Work, width: float) -> float:
    """Each lane's own; the head's are made in fp32 and rounded, by one lane after the other.

    bf16 gradients are added to sums and given back, so with one part per lane few meet.
    """
    if not found.whole:
        return found.trained * _MASTER * work.busy
    if width == _MASTER:
        return work.busy * (found.trained * width + found.embedding * (_MASTER + width))
    sets = work.busy if _waiting(work) else 1
    return sets * found.trained * width + found.embedding * (_MASTER + width)


def _sums(found: Shape, work: Work, width: float) -> float:
    """Gradients added up in fp32, and what is added to them while lanes go on with the next part."""
    if not found.whole or width == _MASTER:
        return 0.0
    return found.trained * (2 * _MASTER + (work.busy * width if _waiting(work) else 0))


def _waiting(work: Work) -> bool:
    """Say whether lanes begin another part while the former one's memory is not yet given back."""
    return work.parts > 1.01 * work.steps * work.lanes


def _activations(config: RunConfig, found: Shape, work: Work, width: float) -> float:
    """What the backward pass needs of every token; recomputed, one layer's and the borders."""
    length = work.squares / max(1.0, work.tokens)  # of the row that a token is in
    square = found.kept.square * found.heads * length
    kept = found.kept.numbers * width + found.kept.wide * 4 + square
    borders = 3 * found.hidden * width
    if config.trainer.gradient_checkpointing:
        return work.largest * (kept + borders + found.deep * found.hidden * width)
    return work.largest * (kept * found.deep + borders)


def _held(config: RunConfig, found: Shape, work: Work, width: float) -> float:
    """What the allocator holds of former parts and of bf16 products' working copies (docs/log.md)."""
    if config.model.device != "cpu" or (config.model.dtype == "fp32" and not _waiting(work)):
        return 0.0
    share = 1.0 if _waiting(work) else 0.5
    return share * _activations(config, found, work, width)


def _working(found: Shape, work: Work, width: float) -> float:
    """What one layer needs while it is computed: its gradients, fp32 copies, bytes of dropout."""
    learnt = (found.hidden * 4 + found.inner * 5) * width + found.hidden * 16 + found.dropped
    asked = (found.hidden * 4 + found.inner * 3) * width  # without a gradient
    return max(work.largest * learnt, work.asked * asked)


def _attention(found: Shape, work: Work, width: float) -> float:
    """Scores of one block per lane, and the masks that are kept for each length."""
    block = min(_BLOCK, work.longest)
    scores = found.heads * block * work.longest * width * _SCORES * work.busy
    masks = sum(n * (n + _BLOCK) / 2 if n > _BLOCK else n * n for n in work.lengths[-256:]) * width
    return scores + (masks if found.fused else 0.0)


def _logit_arrays(config: RunConfig) -> float:
    """Return how many float32 arrays of a chunk's logits there are beside the fast loss's one.

    A method's config may say it by `logit_arrays`. With smoothed labels: logits, logarithms, gradient.
    """
    own = float(getattr(config.method, "logit_arrays", 0.0))
    return max(own, _SMOOTHED if config.trainer.label_smoothing > 0 else 0.0)


def _has_logits(config: RunConfig) -> bool:
    """Say whether a method asks for words at all: reward models and vectors of texts do not."""
    return bool(getattr(registry("method").get(config.method.type), "has_logits", True))


def _copied(config: RunConfig, model: ModelFacts, found: Shape) -> int:
    """Parameters of a live reference beside a model that is trained whole.

    With an adapter the reference is the base itself; a table of it is made before training.
    """
    method = registry("method").get(config.method.type)
    named = any(getattr(config.method, n) for n in getattr(type(config.method), "models", ()))
    live = getattr(method, "reference", "none") == "live" and found.whole and not named
    return model.parameters if live else 0


def logits_chunk(model: ModelFacts, budget_bytes: int = 128 << 20) -> int:
    """Return how many tokens' logits fit `budget_bytes`: a power of two from 64 to 4096."""
    fits = budget_bytes // max(1, model.vocab_size * _LOGIT_COPIES * _MASTER)
    return 1 << min(12, max(6, int(fits).bit_length() - 1))


def total(parts: dict[str, Any]) -> float:  # Any: int or float
    """Add parts up."""
    return float(sum(parts.values()))
