"""The reference of parity: transformers in float32 on the CPU, its log-probabilities after each token.

Knows nothing about other forms of the model.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from stead.exporting.compare import Row
from stead.models.load import load_model
from stead.values import LoadedModel


@dataclass(frozen=True, slots=True)
class Reference:
    """A loaded model that only scores."""

    loaded: LoadedModel

    @classmethod
    def load(cls, base: Path, adapter: Path | None) -> "Reference":
        """Load a model folder, with its adapter unmerged. Raises: ModelError."""
        return cls(load_model(base, dtype="fp32", device="cpu", adapter=adapter))

    def logprobs(self, ids: list[int], lengths: list[int]) -> torch.Tensor:
        """Return log-probabilities of the token after each prefix of `lengths`.

        Shapes: [P, V], float64: the softmax adds no rounding of its own to the comparison.
        """
        with torch.inference_mode():
            logits_TV = self.loaded.model(torch.tensor([ids]), use_cache=False).logits[0]
        logits_PV = logits_TV[[length - 1 for length in lengths]]
        return torch.log_softmax(logits_PV.double(), dim=-1)

    def top(self, ids: list[int], lengths: list[int], count: int) -> list[Row]:
        """Return the `count` likeliest next tokens after each prefix, likeliest first."""
        rows_PV = self.logprobs(ids, lengths)
        found = rows_PV.topk(min(count, rows_PV.shape[1]), dim=-1)
        return [
            list(zip(i, p, strict=True))
            for i, p in zip(found.indices.tolist(), found.values.tolist(), strict=True)
        ]
