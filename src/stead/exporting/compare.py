"""How far two forms of a model are apart, in numbers, and what distance is still the same model.

Knows nothing about where the numbers come from. Units: natural log; KL(reference ‖ other) over the
compared tokens plus one bucket for all others, which never exceeds the true KL (data processing
inequality).
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stead.exporting.recipe import QUANTS

if TYPE_CHECKING:
    import torch

Row = list[tuple[int, float]]  # (token id, log-probability), likeliest first


@dataclass(frozen=True, slots=True)
class Bound:
    """What a hop may differ by before the verdict is "fail"."""

    top1: float
    kl_mean: float
    logprob_max: float = math.inf
    logprob_mean: float = math.inf


# Measured on seeded random Llamas of 64, 128 and 256 hidden units with weights of 0.2, whose answers
# are far more sensitive than a trained model's (worst of the three; KL mean, top-1): f32 3e-10, 1.0
# (log-probs 2.2e-4 at most, 1.1e-5 in the mean); f16 7e-5, 0.987; bf16 4e-3, 0.964; q8_0 0.025, 0.88;
# q4_0 1.5, 0.33; q4_K_M 1.2, 0.37. An unrelated model is at 3 and more, and agrees by chance only.
BOUNDS = {
    "f32": Bound(0.99, 1e-6, 1e-3, 1e-4),
    "f16": Bound(0.95, 1e-3),
    "bf16": Bound(0.90, 0.02),
    "q8_0": Bound(0.80, 0.1),
    "q4_0": Bound(0.25, 2.5),
    "q4_K_M": Bound(0.25, 2.5),
}


def bound_of(file_type: Any) -> str:  # Any: general.file_type, a number if the file is sound
    """Return the quantization whose bound applies; an unknown type gets the widest."""
    return next((name for name, (number, _) in QUANTS.items() if number == file_type), "q4_0")


@dataclass(slots=True)
class Tally:
    """Running sums over compared positions."""

    positions: int = 0
    values: int = 0
    agreed: int = 0
    absolute: float = 0.0
    largest: float = 0.0
    divergence: float = 0.0

    def add(self, reference_PV: "torch.Tensor", rows: list[Row]) -> None:
        """Compare log-probabilities of one sequence.

        Shapes: reference [P, V], float64; `rows` one per position.
        """
        best = reference_PV.argmax(dim=-1).tolist()
        for position, row in enumerate(rows):
            known = [(i, p) for i, p in row if i < reference_PV.shape[1]]
            mine = reference_PV[position, [i for i, _ in known]].tolist()
            self.positions += 1
            self.agreed += bool(row) and row[0][0] == best[position]
            self._differences(mine, [p for _, p in known])

    def _differences(self, mine: list[float], theirs: list[float]) -> None:
        gaps = [abs(a - b) for a, b in zip(mine, theirs, strict=True)]
        self.values += len(gaps)
        self.absolute += sum(gaps)
        self.largest = max(self.largest, *gaps)
        self.divergence += _kl(mine, theirs)


def _kl(mine: list[float], theirs: list[float]) -> float:
    """Return KL(mine ‖ theirs), what is not listed being one outcome on either side."""
    total = sum(math.exp(a) * (a - b) for a, b in zip(mine, theirs, strict=True))
    rest = 1.0 - math.fsum(map(math.exp, mine))
    other = 1.0 - math.fsum(map(math.exp, theirs))
    if rest > 1e-5 and other > 1e-5:  # below, the bucket is rounding of the sums
        total += rest * math.log(rest / other)
    return max(0.0, total)


@dataclass(frozen=True, slots=True)
class Hop:
    """One comparison: from the reference to another form of the model."""

    origin: str
    target: str
    quant: str
    prompt_bytes_equal: bool
    token_ids_equal: bool
    stop_equal: bool
    conversations: int
    tally: Tally
    unequal: list[int] = field(default_factory=list)
    stops: dict[str, Any] = field(default_factory=dict)  # Any: JSON values

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """Return the hop as JSON values."""
        count = max(1, self.tally.positions)
        bound = BOUNDS[self.quant]
        limits = {
            name: getattr(bound, name)
            for name in ("top1", "kl_mean", "logprob_max", "logprob_mean")
            if math.isfinite(getattr(bound, name))
        }
        return {
            "from": self.origin,
            "to": self.target,
            "quant": self.quant,
            "prompt_bytes_equal": self.prompt_bytes_equal,
            "n_conversations": self.conversations,
            "token_ids_equal": self.token_ids_equal,
            "stop_equal": self.stop_equal,
            "logprob_max_abs": self.tally.largest,
            "logprob_mean_abs": self.tally.absolute / max(1, self.tally.values),
            "top1_agreement": self.tally.agreed / count,
            "kl_mean": self.tally.divergence / count,
            "n_positions": self.tally.positions,
            "unequal_conversations": self.unequal,
            "stops": self.stops,
            "bounds": limits,
        }


def judge(hop: Hop) -> list[str]:
    """Return why the hop fails, in words; [] when it passes."""
    found = hop.to_dict()
    exact = {
        "prompt_bytes_equal": "the prompt bytes differ",
        "token_ids_equal": "the token ids differ",
        "stop_equal": "the tokens that end an answer differ",
    }
    reasons = [f"{hop.target}: {words}" for name, words in exact.items() if not found[name]]
    bound = BOUNDS[hop.quant]
    if found["top1_agreement"] < bound.top1:
        reasons.append(
            f"{hop.target}: the likeliest token agrees at {found['top1_agreement']:.4f} of positions, "
            f"at least {bound.top1} is expected of {hop.quant}"
        )
    limits = (
        ("kl_mean", bound.kl_mean),
        ("logprob_max_abs", bound.logprob_max),
        ("logprob_mean_abs", bound.logprob_mean),
    )
    for name, limit in limits:
        if not found[name] <= limit:
            reasons.append(
                f"{hop.target}: {name} is {found[name]:.3g}, at most {limit:g} for {hop.quant}"
            )
    return reasons
