"""Records of finished runs → fitted factors for this kind of run.

Knows nothing about files or how parts are counted. Runs that are alike count most; runs on another
processor say nothing about seconds and little about bytes.
"""

from collections.abc import Sequence
from typing import Any

from stead.planning.calibrate import Example, Fit, Prior, fit
from stead.planning.history import Record
from stead.planning.machine import Machine, table

_OTHER_KIND = 0.5  # weight of a run with another method, adapter or dtype
_OTHER_PLACE = 0.25  # for bytes: of a run on another machine
_BUSY = 1.2  # times the share of time that a run had a core; squared: caches are shared, too
_LEAST_SHARE = 0.2  # a run that waited more says nothing about seconds
_NEWEST = 200
_HALVED = 60  # runs after which a run counts half: code changes


def learn(
    records: Sequence[Record], wanted: dict[str, str], quantity: str, machine: Machine
) -> Fit:
    """Return the factors of `quantity` ("memory", "steps", "around") for runs of kind `wanted`."""
    prior = prior_of(quantity, measured=machine.measured)
    names = list(prior.factors)
    alike = [r for r in records if quantity != "steps" or r["rates"] == machine.rates]
    used = [e for r in alike[-_NEWEST:] if (e := _example(r, wanted, quantity)) is not None]
    aged = [_aged(e, len(used) - i) for i, e in enumerate(used)]
    return fit(aged, prior, names)


def prior_of(quantity: str, *, measured: bool = True) -> Prior:
    """Return the shipped prior; wider for seconds where nothing was measured."""
    found: dict[str, Any] = table()["priors"][quantity]  # Any: YAML values
    spread = float(found["spread"])
    if quantity != "memory" and not measured:
        spread = float(table()["unmeasured_spread"])
    factors = {name: (float(mean), float(sd)) for name, (mean, sd) in found["factors"].items()}
    return Prior(factors, spread)


def kind_name(kind: dict[str, str]) -> str:
    """Return one word for a kind of run."""
    return " ".join(kind[k] for k in ("dtype", "method", "adapter"))


def _example(item: Record, wanted: dict[str, str], quantity: str) -> Example | None:
    kind, needed = item["kind"], item["needed"].get(quantity)
    parts = item["counted"].get(quantity)
    if not needed or not parts or kind["device"] != wanted["device"]:
        return None
    weight = 1.0 if kind_name(kind) == kind_name(wanted) else _OTHER_KIND
    if quantity == "memory":
        covered = item["counted"].get("load", {}).get("peak", 0.0) < needed * 0.98
        here = kind["name"] == wanted["name"]
        return Example(parts, needed, weight * (1.0 if here else _OTHER_PLACE), kind_name(kind)) if covered else None  # fmt: skip
    if kind["name"] != wanted["name"] or item["ran_share"] < _LEAST_SHARE:
        return None
    return Example(
        parts, needed, weight * min(1.0, _BUSY * item["ran_share"]) ** 2, kind_name(kind)
    )


def _aged(example: Example, age: int) -> Example:
    return Example(
        example.parts, example.needed, example.weight * 0.5 ** (age / _HALVED), example.kind
    )
