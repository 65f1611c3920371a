"""What a training run used, measured around its loop: the figures that correct the next forecast.

Knows nothing about forecasts. The result of a run carries them under "measured".
"""

from typing import Any

import torch

from stead.core import usage
from stead.training.callback import Run
from stead.training.loop.parts import Parts


class Meter:
    """Started when everything is built; read once the loop is done, while its threads still live."""

    def __init__(self) -> None:
        self._before = usage.read()

    def read(self, parts: Parts, run: Run) -> dict[str, Any]:  # Any: JSON values
        """Return the loop's figures. Units: seconds, bytes, optimizer steps, tokens."""
        used = usage.read().since(self._before)
        return {
            "whole": parts.start == 0 and run.stop is None,  # not resumed, not stopped early
            "steps": run.step - parts.start,
            "tokens": run.tokens - parts.tokens,
            "step_s": round(run.seconds, 4),
            "loop_s": round(used.wall_s, 4),
            "cpu_s": round(used.cpu_s, 4),
            "wait_s": round(used.wait_s, 4),
            "ran_share": round(used.ran_share, 4),
            "lanes": parts.lanes,
            "load": usage.load(),
            "device_peak_bytes": _device_peak(parts.loaded.device),
        }


def _device_peak(device: torch.device) -> int | None:
    """Return the most memory that was reserved on a GPU; None on the processor."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
