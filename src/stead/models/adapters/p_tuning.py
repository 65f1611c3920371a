"""p-tuning: virtual tokens whose embeddings a small network makes while they are trained.

Knows nothing about losses or the loop. Source: arXiv:2103.10385 §3.2; files: PEFT's P_TUNING, which
hold the finished embeddings, so that the network is gone after training.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stead.models.layers.prompt_adapter import Prompt, VirtualAdapter, VirtualConfig, read_fields

if TYPE_CHECKING:
    import torch


class PTuningConfig(VirtualConfig):
    """How many virtual tokens, and the network that makes them."""

    type: Literal["p_tuning"] = "p_tuning"
    encoder: Literal["mlp", "lstm"] = Field(
        default="mlp", description="network between trained vectors and embeddings"
    )
    hidden: int | None = Field(
        default=None, ge=1, description="width of the network; None: the model's hidden size"
    )
    layers: int = Field(default=2, ge=1, le=8, description="layers of the LSTM")

    def trained_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers are trained: the vectors, and the network with its biases."""
        E = int(model.hidden_size)
        H = E if self.hidden is None else self.hidden
        if self.encoder == "mlp":
            return self.tokens * E + E * H + H * H + H * E + 2 * H + E
        inputs = (E, *(2 * H,) * (self.layers - 1))  # of each layer of the LSTM, in both directions
        lstm = sum(8 * H * (into + H + 2) for into in inputs)
        return self.tokens * E + lstm + 2 * H * (2 * H + 1) + E * (2 * H + 1)

    def saved_parameters(self, model: Any) -> int:  # Any: planning's ModelFacts
        """Return how many numbers the result holds: the words, without the network that made them."""
        return int(self.tokens * model.hidden_size)


class PTuning(VirtualAdapter):
    """Train invisible words through a small network; no weight changes.

    Virtual tokens as embeddings made by an MLP or an LSTM.
    """

    config: PTuningConfig
    peft_type: ClassVar[str] = "P_TUNING"

    def prompt(self, model: "torch.nn.Module", seed: int) -> Prompt:
        """Begin as what a fresh network makes of small random numbers."""
        return Prompt(
            self.config.tokens, False, seed, net=self.config.encoder,
            hidden=self.config.hidden, depth=self.config.layers,
        )  # fmt: skip

    def peft(self) -> dict[str, Any]:
        """Describe the network that is gone."""
        return {
            "encoder_reparameterization_type": self.config.encoder.upper(),
            "encoder_hidden_size": self.config.hidden,
            "encoder_num_layers": self.config.layers,
            "encoder_dropout": 0.0,
        }

    @classmethod
    def read(cls, folder: Path) -> PTuningConfig | None:
        """Read PEFT's P_TUNING config."""
        data = read_fields(folder, cls.peft_type)
        return None if data is None else PTuningConfig(tokens=data["num_virtual_tokens"])
