"""The seam for how to learn: which columns a method needs, and its loss on one micro-batch.

Knows nothing about adapters, optimizers or steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from stead.config.run import RunConfig
from stead.core.events import Emit
from stead.messages import Message
from stead.models.flat import FlatBatch
from stead.models.measure import Measure
from stead.planning.facts import DataFacts, ModelFacts

if TYPE_CHECKING:
    import torch


class MethodConfig(BaseModel):
    """Settings of a method; a subclass adds its own and narrows `type`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    models: ClassVar[tuple[str, ...]] = ()  # fields that name other models: planning finds them

    type: str

    def require(self, find: "Find") -> None:
        """Refuse settings that no run could begin with: asked by the plan, and before training.

        Cheap: nothing is loaded or run. Raises: ConfigError, and what `find` raises.
        """

    def require_rows(self, rows: DataFacts, source: str) -> None:
        """Refuse rows, those of `source`, that the settings cannot be used with: asked by the plan.

        Raises: ConfigError.
        """

    def remarks(self, config: RunConfig, model: ModelFacts, data: DataFacts) -> tuple[str, ...]:
        """Return what a person should know of these settings before a run, for the plan's notes."""
        return ()

    def try_out(self, columns: Collection[str] | None) -> None:
        """Try what may be away or broken, once, when the rows are ready and no model is loaded yet.

        May run the user's code and ask an endpoint. `columns` are those of the rows; None: unknown.
        Raises: ConfigError, BackendError, TrainingError.
        """


Find = Callable[[str], Path]
"""What people write for a model (folder, run, name) → its folder or file."""

Columns = Mapping[str, FlatBatch]
"""A micro-batch: column name → its flattened rows; the same rows in every column."""


class Model(Protocol):
    """What a method may ask of the model; `models/learner` is the real one."""

    @property
    def options(self) -> Any:  # Any: models/learner.LearnerOptions
        """How its forward pass is run."""

    def hidden(self, batch: FlatBatch) -> "torch.Tensor":
        """Return the last hidden states. Shapes: [T, E]."""

    def logits(self, hidden: "torch.Tensor") -> "torch.Tensor":
        """Return the logits of hidden states. Shapes: [N, E] → [N, V]."""

    def features(
        self, batch: FlatBatch, layers: Sequence[int]
    ) -> "tuple[torch.Tensor, list[torch.Tensor]]":
        """Return the last hidden states, and what layers, counted from 1, give out. [T, E] each."""

    def token_loss(self, hidden: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        """Return the summed cross-entropy of labels. Shapes: hidden [N, E], labels [N]."""

    def trained(self) -> "Sequence[tuple[str, torch.nn.Parameter]]":
        """Name the trained parameters, each once."""

    def distill(
        self, batch: FlatBatch, teacher: Any, measure: Measure
    ) -> "tuple[torch.Tensor, dict[str, float]]":
        """Return the summed distance to another `Model` over the labelled tokens, and its parts."""

    def token_scores(
        self, hidden: "torch.Tensor", labels: "torch.Tensor", temperature: float = 1.0
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return log-probabilities of labels, with gradient, and entropies, without.

        Entropies are NaN where no gradient is wanted. Shapes: hidden [N, E], labels [N] → [N], [N].
        """

    def label_loss(self, batch: FlatBatch) -> "tuple[torch.Tensor, int]":
        """Return the summed loss over labelled tokens, and their number."""

    def label_log_probs(self, batch: FlatBatch) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return log-probabilities of the labels, and their places in the batch."""

    def draw(self, seed: int, step: int, *, active: bool = True) -> AbstractContextManager[None]:
        """Let dropout of this thread come from (seed, step); inactive: no dropout at all."""


class Store(Protocol):
    """The prepared rows of one split; `training/batches` is the real one."""

    @property
    def split(self) -> str:
        """The split's name."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def lengths(self) -> Any:  # Any: int array, tokens of each row over all columns
        """Tokens of each row over all columns, int array."""

    @property
    def stores(self) -> Mapping[str, Any]:  # Any: column → data/pack.TokenStore
        """Column → data/pack.TokenStore."""

    @property
    def prepared(self) -> Any:  # Any: values.PreparedData
        """The values.PreparedData this is a split of."""

    def batch(self, rows: Sequence[int]) -> Columns:
        """Flatten the same rows of every column."""

    def deal(
        self, rows: Sequence[int], lanes: int, lengths: Any = None
    ) -> list[list[int]]:  # Any: int array, what rows cost; None: their tokens
        """Share rows among at most `lanes` parts of about equal length."""


class RewardScorer(Protocol):
    """Says how good answers are; `models/reward` is the real one."""

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """Judge the last answer of each conversation."""

    def score_tokens(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Judge prompts with their answers, as ids."""


class Tools(Protocol):
    """What a method may use besides the micro-batch; `training/tools` is the real one."""

    @property
    def model(self) -> Model:
        """The model that is trained."""

    @property
    def loaded(self) -> Any:  # Any: values.LoadedModel
        """The values.LoadedModel behind it."""

    @property
    def adapter(self) -> Any:  # Any: models/adapter.Adapter
        """The models/adapter.Adapter that was put on it."""

    @property
    def train(self) -> Store:
        """The training rows."""

    @property
    def held_out(self) -> Store | None:
        """The held-out rows."""

    @property
    def lanes(self) -> int:
        """How many micro-batches run side by side."""

    @property
    def seed(self) -> int:
        """The run's seed."""

    @property
    def folder(self) -> Path:
        """A folder of the run, for what is computed once and must survive a kill."""

    @property
    def emit(self) -> Emit:
        """Where events go."""

    def write(
        self, prompts: Sequence[Sequence[int]], each: Sequence[Sequence[int]], sampling: Any,
        stop_ids: Sequence[int],
    ) -> Any:  # Any: Sampling in, rollout_buffer.Written by prompt out  # fmt: skip
        """Answer prompt i once per seed in `each[i]`, with the weights as they are."""

    def save(self, folder: Path) -> None:
        """Write the weights as they are: an adapter's folder, or a whole model's."""

    def write_gguf(self, weights: Path, out: Path, quant: str) -> None:
        """Turn what `save` wrote into a GGUF file. Raises: ConfigError("no-gguf"), ExportError."""

    def reference(self) -> AbstractContextManager[Model]:
        """Compute the model as it was before training: no adapter, no dropout, no gradient."""

    def reward_model(self, folder: str) -> RewardScorer:
        """Open a model that the method `reward` trained."""

    def open_model(self, ref: str) -> Any:  # Any: models/learner.Learner
        """Load another model, frozen, to be computed beside the trained one."""

    def twin(self) -> Any:  # Any: models/learner.Learner
        """Copy the trained model as it is; what is not trained is shared."""

    def keep_reference(self) -> None:
        """Make sure, in `setup`, that `reference` stays the starting model for adapters of any kind."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum over the micro-batch, not a mean: the loop divides by the whole step's weight.

    So eight micro-batches of one row give the gradient of one micro-batch of eight.
    """

    total: "torch.Tensor"
    values: dict[str, float] = field(default_factory=dict)  # sums, divided by the weight likewise


@dataclass(frozen=True, slots=True)
class Kept:
    """What a method or adapter needs to go on exactly after a kill."""

    tensors: "dict[str, torch.Tensor]" = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)  # Any: JSON values


class Method(ABC):
    """A way to learn. The file name is the method's name.

    `kinds` are the kinds of prepared data it can use; `columns` the columns it needs. The order of
    calls: `setup` once, on the model as it was loaded (before a resume restores anything), then per
    step `gather` and, for each micro-batch it returned, `weight` and `loss`.
    """

    config: MethodConfig
    has_logits: ClassVar[bool] = True  # whether words are predicted at all; forecasts ask
    freezes_words: ClassVar[bool] = False  # whether an output layer of its own stays as it is
    kinds: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[str, ...]]
    unit: ClassVar[str] = "label tokens"  # what `weight` counts
    takes_as_is: ClassVar[bool] = False  # rows of any of its kinds, none turned into the first
    smooths_labels: ClassVar[bool] = False  # its loss is `Model.label_loss`: label smoothing works
    requires: ClassVar[tuple[str, ...]] = ()
    # What a forecast must know: passes over each token, and what is in memory besides the model.
    forward_passes: ClassVar[float] = 1.0
    backward_passes: ClassVar[float] = 1.0
    reference: ClassVar[Literal["none", "table", "live"]] = "none"
    rollout: ClassVar[bool] = False
    # How a row's columns are laid out: after one another, what they share once, or as texts to compare.
    layout: ClassVar[Literal["rows", "trees", "views"]] = "rows"
    # A row's loss does not depend on the others of its micro-batch.
    separable: ClassVar[bool] = True
    # Words that an adapter's `cannot` may refuse, with its reason: see config/pairing.
    needs: ClassVar[tuple[str, ...]] = ()
    # Peak learning rates for small added weights ("lora") and for the model's own ("full").
    default_lr: ClassVar[Mapping[str, float]] = {"lora": 1e-4, "full": 1e-5}

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    @property
    def repeat(self) -> int:
        """How many optimizer steps are made on the same rows before the next ones are taken."""
        return 1

    def setup(self, tools: Tools) -> None:
        """Compute what is needed once: tables of a reference, heads, a teacher."""
        return

    def parameters(self) -> "dict[str, torch.nn.Parameter]":
        """Name the weights this method trains besides the model's own: heads, for instance."""
        return {}

    def rate(self, name: str) -> float:
        """Return the factor of the learning rate for one of `parameters`."""
        return 1.0

    def columns_of(self, kind: str) -> tuple[str, ...]:
        """Return the columns that are opened for rows of this kind."""
        return self.columns

    def lengths(self, store: Store) -> Any:  # Any: int array
        """Return what each row costs in tokens; micro-batches are cut by it."""
        return store.lengths

    def flatten(self, store: Store, rows: Sequence[int]) -> Columns:
        """Make one micro-batch of these rows."""
        return store.batch(rows)

    def gather(self, tools: Tools, step: int, rows: Sequence[Sequence[int]]) -> list[Columns]:
        """Return the micro-batches of 0-based `step`, cut for the lanes; `rows`: one list each."""
        cost = self.lengths(tools.train)
        return [
            self.flatten(tools.train, part)
            for micro in rows
            for part in tools.train.deal(micro, tools.lanes, cost)
        ]

    @abstractmethod
    def weight(self, batch: Columns) -> float:
        """Return what the summed loss is divided by, once added up over the step."""

    @abstractmethod
    def loss(self, model: Model, batch: Columns) -> Loss:
        """Compute the summed loss of one micro-batch."""

    def examine(self, tools: Tools) -> dict[str, float]:
        """Measure the weights on held-out rows beyond their loss; names begin with "eval_".

        `eval_reward` is what the weights are judged by where there is no held-out loss.
        """
        return {}

    def unrepeatable(self) -> str:
        """Name what takes part in the run but would not answer alike again; "" is nothing.

        The name is another one in each process: then no resume is taken for exact.
        """
        return ""

    def callbacks(self) -> dict[str, dict[str, Any]]:  # Any: a callback's arguments
        """Name the callbacks this method wants besides the loop's own, each with its arguments."""
        return {}

    def state(self) -> Kept:
        """Return what must survive a kill beyond weights and `setup`."""
        return Kept()

    def restore(self, kept: Kept) -> None:
        """Put back what `state` returned."""
        return

    def save(self, folder: Path) -> None:
        """Write this method's own weights into the finished model's folder."""
        return
