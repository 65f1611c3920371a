"""A model as training methods see it: flattened batches in, losses or log-probabilities out.

Knows nothing about methods, optimizers or steps. Legend: T tokens of a micro-batch, N labelled ones.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from stead.core.errors import ModelError
from stead.models import apart, attention, fused
from stead.models.divergence import Distance, chunked_sum
from stead.models.features import captured
from stead.models.flat import FlatBatch
from stead.models.layers import observed, virtual
from stead.models.layers.lowrank import Draw, current_draw, set_draw
from stead.models.layers.noise import noisy
from stead.models.loss import Head, cross_entropy_sum, token_log_probs
from stead.models.measure import Measure
from stead.models.scores import token_scores
from stead.models.segments import Segments, Span
from stead.values import LoadedModel

IGNORED = -100
_STEP = 64  # CPU batches are filled up to this many tokens: oneDNN compiles a kernel for each shape


class Asked(Protocol):
    """A model that is only asked: another learner, or one behind a door."""

    @property
    def head(self) -> Head:
        """Its output layer."""

    def hidden(self, batch: Any) -> Tensor:
        """Return its last hidden states. Shapes: [T, E]."""


@dataclass(frozen=True, slots=True)
class LearnerOptions:
    """How the forward pass is run; the last two change what is learnt, the others only rounding."""

    chunk: int = 256
    checkpointing: bool = False
    fuse: bool = True
    label_smoothing: float = 0.0  # while training only: held-out losses stay comparable
    neftune_alpha: float = 0.0  # likewise


class Learner:
    """The forward pass of training.

    While it is open, the model computes packed attention; `close` gives the model back as it was.
    `rows_apart` says that this family cannot be packed exactly, so rows are run one by one.
    """

    def __init__(self, loaded: LoadedModel, options: LearnerOptions | None = None) -> None:
        self.loaded = loaded
        self.model = loaded.model
        self.options = options if options is not None else LearnerOptions()
        self.head = head_of(self.model)
        self._decoder = self.model.get_decoder()
        self._attention = self.model.config._attn_implementation
        self.fused: list[str] = []
        self._own_attention = self.rows_apart = apart.reason(self.model)
        self.open()

    def open(self) -> None:
        """Make the model compute packed rows; the constructor does it."""
        if self._own_attention is None:
            self.model.set_attn_implementation(attention.NAME)
        self.fused = (
            fused.install(self.model)
            if self.options.fuse and not virtual.has_keys(self.model)
            else []
        )
        self._filling = self.loaded.device.type == "cpu" and not observed.counts(self.model)
        if self.options.checkpointing:
            _checkpointing(self.model, "enable")

    def close(self) -> None:
        """Undo what the constructor changed in the model."""
        fused.remove(self.model)
        self.model.set_attn_implementation(self._attention)
        if self.options.checkpointing:
            _checkpointing(self.model, "disable")

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Let this thread compute the model without its adapter, without dropout and gradient.

        Only for adapters with `can_switch_off`; see `training/reference` for the others.
        """
        with _drawing(Draw(plain=True)), torch.no_grad():
            yield

    @contextmanager
    def draw(self, seed: int, step: int, *, active: bool = True) -> Iterator[None]:
        """Let dropout of this thread come from (seed, step); inactive: no dropout at all."""
        with _drawing(Draw(seed, step, active)):
            yield

    def hidden(self, batch: FlatBatch) -> Tensor:
        """Return the last hidden states. Shapes: [T, E]."""
        tokens, positions = self._tensor(batch.tokens), self._tensor(batch.positions)
        segments = Segments.of(batch)
        if self.rows_apart is None:
            total = tokens.shape[0]
            more = -total % _STEP if self._filling else 0
            if more:
                tokens = torch.cat((tokens, tokens.new_zeros(more)))
                positions = torch.cat((positions, torch.arange(more, dtype=positions.dtype)))
                segments = segments.filled(more)
            return self._forward(tokens, positions, segments)[:total]
        return torch.cat([self._alone(tokens, positions, *spans) for spans in segments.spans()])

    def _alone(
        self, tokens: Tensor, positions: Tensor, begin: int, end: int, prefix: tuple[Span, ...]
    ) -> Tensor:
        """Compute one row by itself, behind what it continues. Shapes: [end - begin, E]."""
        whole = [(a, b) for a, b in (*prefix, (begin, end)) if b > a]
        own, places = (torch.cat([x[a:b] for a, b in whole]) for x in (tokens, positions))
        length = own.shape[0]
        return self._forward(own, places, Segments((0, length)))[length - (end - begin) :]

    def label_loss(self, batch: FlatBatch) -> tuple[Tensor, int]:
        """Return the summed loss over the labelled tokens, and their number. Units: nats."""
        labels = self._tensor(batch.labels)
        place = (labels != IGNORED).nonzero().squeeze(1)
        hidden = self.hidden(batch).index_select(0, place)
        count = place.shape[0]
        return self.token_loss(hidden, labels.index_select(0, place)), count

    def label_log_probs(self, batch: FlatBatch) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of the labels and their places in the batch. Shapes: [N], [N]."""
        labels = self._tensor(batch.labels)
        place = (labels != IGNORED).nonzero().squeeze(1)
        hidden = self.hidden(batch).index_select(0, place)
        chosen = labels.index_select(0, place)
        return token_log_probs(hidden, self.head, chosen, self.options.chunk), place

    def features(self, batch: FlatBatch, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Return the last hidden states, and what `layers`, counted from 1, give out.

        Shapes: [T, E] each. Raises: ModelError("rows-apart" | "no-layer").
        """
        if self.rows_apart is not None:
            raise ModelError("rows-apart", f"layers cannot be read here: {self.rows_apart}")
        with captured(self._decoder, layers) as found:
            last = self.hidden(batch)
        first = virtual.leading(self.model)
        return last, [found[n][0, first : first + last.shape[0]] for n in layers]

    def token_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Return the summed cross-entropy of labels. Shapes: hidden [N, E], labels [N]. Units: nats."""
        return cross_entropy_sum(hidden, self.head, labels, self.options.chunk, self._smoothing)

    @property
    def _smoothing(self) -> float:
        return self.options.label_smoothing if self.model.training else 0.0

    def distill(
        self, batch: FlatBatch, teacher: Asked, measure: Measure
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the summed distance to a teacher over the labelled tokens, and its parts' sums.

        The teacher is computed without gradient. Source: `models/divergence`.
        """
        labels = self._tensor(batch.labels)
        place = (labels != IGNORED).nonzero().squeeze(1)
        with torch.no_grad():
            taught = teacher.hidden(batch).index_select(0, place)
        head = teacher.head
        known = min(self.head.weight.shape[0], head.weight.shape[0])
        chosen = labels.index_select(0, place)
        distance = Distance(measure, chosen, taught, head, known, self._smoothing)
        hidden = self.hidden(batch).index_select(0, place)
        total = chunked_sum(hidden, self.head, distance, self.options.chunk)
        values = {"divergence": distance.divergence, "cross_entropy": distance.cross_entropy}
        return total, values

    def token_scores(
        self, hidden: Tensor, labels: Tensor, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of `labels` with gradient, and entropies without.

        Entropies are NaN where no gradient is wanted. Shapes: hidden [N, E], labels [N] → [N], [N]. Units: nats.
        """
        return token_scores(hidden, self.head, labels, self.options.chunk, temperature)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states. Shapes: [N, E] → [N, V]; keep N small."""
        return self.head.logits(hidden)

    def trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Name the trained parameters, each once, in the model's order."""
        return [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values).to(self.loaded.device)

    def _forward(self, tokens: Tensor, positions: Tensor, segments: Segments) -> Tensor:
        draw = current_draw()
        given = {"input_ids": tokens[None]}
        if self.options.neftune_alpha and draw.active:
            embedded = self.model.get_input_embeddings()(tokens)
            alpha = self.options.neftune_alpha
            given = {
                "inputs_embeds": noisy(embedded, positions, segments.starts, alpha, draw)[None]
            }
        out = self._decoder(
            **given, position_ids=positions[None], use_cache=False, segments=segments
        )
        hidden: Tensor = out.last_hidden_state[0]
        return hidden


def _checkpointing(model: Any, verb: str) -> None:  # Any: a transformers model
    """Switch recomputation on or off, under the name this version of transformers has for it."""
    kind = "activation" if hasattr(model, f"activation_checkpointing_{verb}") else "gradient"
    switch = getattr(model, f"{kind}_checkpointing_{verb}")
    if verb == "enable":
        how = {"use_reentrant": False, "context_fn": _same_draws}
        switch(**{f"{kind}_checkpointing_kwargs": how})
    else:
        switch()


def _same_draws() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds a layer's first pass and the second: both draw by the same counter.

    The backward pass of a GPU runs on a thread of its own, which has no counter of its own.
    """
    return nullcontext(), _drawing(current_draw())


@contextmanager
def _drawing(draw: Draw) -> Iterator[None]:
    former = set_draw(draw)
    try:
        yield
    finally:
        set_draw(former)


def head_of(model: Any) -> Head:  # Any: a transformers model
    """Describe the output layer, with the scalings that some families apply to logits."""
    layer = model.get_output_embeddings()
    config = model.config
    scale = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)
    return Head(
        layer.weight,
        layer.bias,
        scale=1.0 * (scale if scale is not None else 1.0) / (divisor if divisor is not None else 1),
        softcap=getattr(config, "final_logit_softcapping", None),
    )
