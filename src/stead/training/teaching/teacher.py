"""What distillation needs of a teacher: its states without dropout, a copy that follows, projections.

Knows nothing about losses over the vocabulary. Legend: T tokens, N labelled ones, S student's hidden
size, E teacher's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stead.core import seeds
from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.models.flat import FlatBatch
from stead.training.method import Model

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch", extra="train")

_IGNORED = -100
Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model that is asked, never trained. `enter` gives it without dropout and gradient."""

    enter: Callable[[], AbstractContextManager[Any]]  # Any: models/learner.Learner

    @property
    def head(self) -> Any:  # Any: models/loss.Head
        """Its output layer."""
        with self.enter() as model:
            return model.head

    def hidden(self, batch: FlatBatch) -> "torch.Tensor":
        """Return its last hidden states. Shapes: [T, E]."""
        with self.enter() as model:
            found: torch.Tensor = model.hidden(batch)
            return found

    def features(self, batch: FlatBatch, layers: Sequence[int]) -> "list[torch.Tensor]":
        """Return what its layers give out. Shapes: [T, E] each."""
        with self.enter() as model:
            found: list[torch.Tensor] = model.features(batch, layers)[1]
            return found


def quiet(learner: Any) -> Teacher:  # Any: models/learner.Learner
    """Return a model of its own as a teacher."""

    @contextmanager
    def enter() -> Iterator[Any]:
        with torch.no_grad(), learner.draw(0, 0, active=False):
            yield learner

    return Teacher(enter)


class Moving:
    """A teacher whose trained weights follow the student's: w' ← keep · w' + (1 − keep) · w.

    Source: arXiv:1703.01780 §2. Kept in float32; rounded into the copy.
    """

    def __init__(self, learner: Any, names: Sequence[str], keep: float) -> None:
        self._keep = keep
        copied = dict(learner.model.named_parameters())
        self._parameters = {name: copied[name] for name in names}
        self._means = {name: p.detach().float().clone() for name, p in self._parameters.items()}

    def follow(self, model: "torch.nn.Module") -> None:
        """Move towards the student's present weights."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self._means:
                    self._means[name].lerp_(parameter.detach().float(), 1 - self._keep)
        self._publish()

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Return the means by parameter name."""
        return dict(self._means)

    def restore(self, tensors: "dict[str, torch.Tensor]") -> None:
        """Put back what `tensors` returned."""
        for name, mean in self._means.items():
            mean.copy_(tensors[name])
        self._publish()

    def _publish(self) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._means[name])


def default_pairs(student: Any, teacher: Any) -> list[tuple[int, int]]:  # Any: transformers models
    """Return the middle and the last layer of both, counted from 1."""
    s, t = (int(m.config.get_text_config().num_hidden_layers) for m in (student, teacher))
    return sorted({(max(1, s // 2), max(1, t // 2)), (s, t)})


class Projections:
    """Trained maps from the student's hidden states to the teacher's, one per pair of layers.

    They begin as the identity where the sizes agree, else random (arXiv:1412.6550 §2.2).
    """

    def __init__(self, pairs: Pairs, maps: "list[torch.nn.Parameter]") -> None:
        self._pairs, self._maps = list(pairs), maps

    @classmethod
    def make(cls, student: Any, teacher: Any, pairs: Pairs, seed: int) -> "Projections":
        """Draw the maps from `seed`. Raises: ModelError("no-layer") for a layer that is not there."""
        sizes = [m.config.get_text_config() for m in (student, teacher)]
        for pair in pairs:
            for number, config, who in zip(pair, sizes, ("student", "teacher"), strict=True):
                if not 1 <= number <= config.num_hidden_layers:
                    raise ModelError(
                        "no-layer",
                        f"the {who} has no layer {number}: it has {config.num_hidden_layers}",
                    )
        S, E = (int(c.hidden_size) for c in sizes)
        device = student.get_input_embeddings().weight.device
        maps = []
        for i in range(len(pairs)):
            generator = torch.Generator().manual_seed(seeds.stream(seed, i, "projection"))
            start = torch.eye(E) if S == E else torch.randn(E, S, generator=generator) * S**-0.5
            maps.append(torch.nn.Parameter(start.to(device)))
        return cls(pairs, maps)

    def parameters(self) -> "dict[str, torch.nn.Parameter]":
        """Name the maps."""
        return {f"projection.{i}": p for i, p in enumerate(self._maps)}

    def compare(
        self, model: Model, teacher: Teacher, flat: FlatBatch, alpha: float
    ) -> "tuple[torch.Tensor, dict[str, float]]":
        """Return alpha · cross-entropy + (1 − alpha) · distance, summed over the labelled tokens.

        The distance of a token is ‖W·h − h'‖² / ‖h'‖², averaged over the pairs: it has no unit.
        """
        taught = teacher.features(flat, [t for _, t in self._pairs])
        last, found = model.features(flat, [s for s, _ in self._pairs])
        labels = torch.as_tensor(flat.labels).to(last.device)
        place = (labels != _IGNORED).nonzero().squeeze(1)
        apart = torch.zeros((), device=last.device)
        for W, ours, theirs in zip(self._maps, found, taught, strict=True):
            wanted = theirs.index_select(0, place).float()
            mapped = ours.index_select(0, place).float() @ W.t()
            apart = apart + _relative(mapped, wanted).sum() / len(self._maps)
        values = {"distance": float(apart.detach())}
        total = (1 - alpha) * apart
        if alpha:
            ce = model.token_loss(last.index_select(0, place), labels.index_select(0, place))
            values["cross_entropy"] = float(ce.detach())
            total = total + alpha * ce
        return total, values


def _relative(mapped: "torch.Tensor", wanted: "torch.Tensor") -> "torch.Tensor":
    """Return squared distances in units of the wanted vector's own length. Shapes: [N, E] → [N]."""
    return (mapped - wanted).square().sum(-1) / wanted.square().sum(-1).clamp(min=1e-12)
