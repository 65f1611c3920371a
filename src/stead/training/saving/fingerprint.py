"""What must be equal for a resumed run to end with the same bits, and what it means when it is not.

Knows nothing about checkpoints or the loop.
"""

import platform
import shlex
from pathlib import Path
from typing import Any

import torch

import stead
from stead.core import files, hardware
from stead.core.errors import CheckpointError

LEVELS = ("exact", "same-order", "best-effort")
_CONTENT = ("model", "data", "config")  # a change here is another run, not another machine
_ROOMS = ("models", "training", "scoring", "data/pack.py", "data/tree.py", "core/seeds.py")


def fingerprint(
    *,
    model: str,
    data: str,
    config: str,
    library: str,
    device: torch.device,
    dtype: torch.dtype,
    lanes: int,
    world: int = 1,
) -> dict[str, Any]:  # Any: JSON values
    """Describe everything that decides the bits of the result; `library` is transformers' version."""
    return {
        "model": model,
        "data": data,
        "config": config,
        "code": _code_hash(),
        "stead": stead.__version__,
        "torch": torch.__version__,
        "transformers": library,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(device),
        "machine": platform.machine(),
        "device": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "lanes": lanes,
        "world": world,
    }


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return hardware.processor()


def _code_hash() -> str:
    root = Path(stead.__file__).parent
    paths = [p for room in _ROOMS for p in [root / room] if p.is_file()]
    paths += [p for room in _ROOMS for p in (root / room).rglob("*.py")]
    return files.hash_value(
        {p.relative_to(root).as_posix(): files.hash_file(p) for p in sorted(paths)}
    )


def check(
    saved: dict[str, Any],
    present: dict[str, Any],
    allowed: str,
    settings: str = "",
    run: Path = Path("RUN"),
) -> str:
    """Return the level a resume can promise; refuse one below what is allowed.

    `settings` tells which settings differ, when that is known: the hash "config" alone helps nobody.
    `run` is the run's folder: the hint goes on under the settings that it was trained with.

    Raises: CheckpointError("fingerprint-changed") naming each field that differs.
    """
    changed = sorted(k for k in saved.keys() | present.keys() if saved.get(k) != present.get(k))
    if not changed:
        return "exact"
    level = "best-effort" if any(k in _CONTENT for k in changed) else "same-order"
    if LEVELS.index(level) > LEVELS.index(allowed):
        parts = ", ".join(
            settings if k == "config" and settings
            else f"{k}: {_short(saved.get(k))} → {_short(present.get(k))}"
            for k in changed
        )  # fmt: skip
        raise CheckpointError(
            "fingerprint-changed",
            f"the checkpoint was written under other conditions ({parts}); resuming could only be {level!r}: "
            f"--resume-level {level} allows it",
            hint=f"stead runs resume {shlex.quote(str(run))} --resume-level {level}",
            changed=changed,
            level=level,
        )
    return level


def _short(value: Any) -> str:  # Any: a JSON value
    text = str(value)
    return text[:12] if len(text) > 40 else text
