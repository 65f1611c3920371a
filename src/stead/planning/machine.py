"""What this machine sustains: measured once by a probe, else taken from a table.

Knows nothing about runs. `models/probe` measures and training writes the file; reading it needs no
heavy library. Deleting the file only forgets. Units: GFLOP/s (a multiply-add is two) and bytes/s of
one lane (one thread of the CPU with all lanes busy, or a whole card), bytes, seconds.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stead.config import load
from stead.config.run import RunConfig
from stead.core import files
from stead.core.hardware import Hardware, threads_asked
from stead.core.paths import Home

_MOST_LANES = 8  # looked for; training uses two
_WIDTHS = {128: 0.4, 512: 0.8, 2048: 1.0}  # share of the table's rate that narrow products reach


@cache
def table() -> dict[str, Any]:  # Any: the values of defaults.yaml
    """Return planning/defaults.yaml."""
    return load.parse_yaml(
        files.package_text("stead.planning", "defaults.yaml"), "planning/defaults.yaml"
    ).data


@dataclass(frozen=True, slots=True)
class Machine:
    """Rates of one lane by the width of a product, memory traffic, and what a worker starts with."""

    gflops: dict[int, float]
    bytes_per_s: float
    process_bytes: float
    start_s: float
    basis: str
    measured: bool

    @property
    def rates(self) -> str:
        """Where the rates come from; records with others are in another unit."""
        return "measured" if self.measured else "table"

    def rate(self, width: int) -> float:
        """Return FLOP/s of products over `width` inputs, between the measured widths by log."""
        known = sorted(self.gflops)
        low = max((w for w in known if w <= width), default=known[0])
        high = min((w for w in known if w >= width), default=known[-1])
        if low == high:
            return self.gflops[low] * 1e9
        part = math.log(width / low) / math.log(high / low)
        return float(self.gflops[low] ** (1 - part) * self.gflops[high] ** part * 1e9)


def path(home: Home) -> Path:
    """Return the file of measurements."""
    return home.cache / "system" / "machine.json"


def entry(device_name: str, dtype: str, lanes: int) -> str:
    """Return the name of one measurement."""
    return f"{device_name} | {dtype} | {lanes}"


def read(home: Home | None) -> dict[str, Any]:  # Any: JSON values
    """Return the measurements kept so far; a damaged file counts as none."""
    if home is None or not path(home).is_file():
        return {}
    try:
        found = files.read_json(path(home))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def keep(home: Home, name: str, values: dict[str, Any]) -> None:  # Any: JSON values
    """Add or replace one measurement."""
    files.write_json(path(home.ensure()), read(home) | {name: values})


def device_name(config: RunConfig, hardware: Hardware) -> str:
    """Return the name of the processor or card that the run computes on."""
    cards = [g.name for g in hardware.gpus if g.kind == config.model.device]
    return cards[0] if cards else hardware.cpu


def machine(config: RunConfig, hardware: Hardware, home: Home | None, lanes: int) -> Machine:
    """Return what the machine sustains for this run's device and dtype."""
    kept = read(home)
    start = kept.get("worker", {})
    device = config.model.device
    name, dtype = device_name(config, hardware), config.model.dtype
    found, said = kept.get(entry(name, dtype, lanes)), lanes
    if found is None and device == "cpu":
        found, said = _shared(kept, name, dtype, lanes)
    process = float(start.get("process_bytes", table()["process_bytes"]["cpu"]))
    started = float(start.get("start_s", table()["start_s"][device]))
    if found is not None:
        rates = {int(k): float(v) for k, v in found["gflops"].items()}
        basis = f"measured on {said} lanes" if device == "cpu" else "measured on this card"
        return Machine(rates, found["bytes_per_s"], process, started, basis, measured=True)
    rate, basis = _tabled(config, hardware)
    rates = {width: rate * share for width, share in _WIDTHS.items()}
    traffic = float(table()["bytes_per_s"][device])
    return Machine(rates, traffic, process, started, basis, measured=False)


def _shared(
    kept: dict[str, Any], name: str, dtype: str, lanes: int
) -> tuple[dict[str, Any] | None, int]:
    """Return what another count of lanes measured, shared among `lanes`: the cores stay the same ones.

    Measured on two cores: one lane of two threads reaches 1.9 times what each of two lanes does.
    """
    asked = threads_asked()
    for said in range(_MOST_LANES, 0, -1):
        found = kept.get(entry(name, dtype, said))
        if found is not None:
            busy = said if asked is None else min(said, asked)
            rates = {k: float(v) * busy / lanes for k, v in found["gflops"].items()}
            return {"gflops": rates, "bytes_per_s": found["bytes_per_s"] * busy / lanes}, said
    return None, lanes


def _tabled(config: RunConfig, hardware: Hardware) -> tuple[float, str]:
    """Return the table's GFLOP/s of one lane, and the basis in words."""
    found = table()
    device, dtype = config.model.device, config.model.dtype
    if device == "mps":
        return float(found["gflops_apple"]), "table: Apple GPU, unverified"
    if device == "cuda":
        name = device_name(config, hardware)
        row = next((k for k in found["gflops_per_card"] if k in name), "other")
        return float(found["gflops_per_card"][row]), f"table: {row} card, unverified"
    rates = found["gflops_per_core"]["fp32" if dtype == "fp32" else "bf16"]
    flag = next((f for f in rates if f in hardware.flags), "other")
    return float(rates[flag]), f"table: {dtype} with {flag}, no measurement of this machine yet"
