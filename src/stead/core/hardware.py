"""What this machine has: processor, memory, disk, accelerators. Never imports a heavy library.

Knows nothing about what is to run on it. An absent GPU is an empty tuple, no error.
"""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from stead.core import lazy, process, room

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "bf16")
_BF16_SINCE = 8  # Ampere; CUDA C++ programming guide, "Compute Capabilities"
_UNLIMITED = 1 << 60  # cgroup v1 writes a huge number for "no limit"
_SMI = [
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free,compute_cap,uuid",
    "--format=csv,noheader,nounits",
]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator; sizes in bytes. `kind` is the device name that torch uses."""

    kind: Literal["cuda", "mps"]
    name: str
    memory_bytes: int
    free_bytes: int
    capability: str = ""  # CUDA compute capability, "9.0"

    @property
    def fast_bf16(self) -> bool:
        """Whether a CUDA card multiplies bf16 matrices in hardware: from 8.0 on, and 12.0 is more."""
        major = self.capability.partition(".")[0]
        return major.isdigit() and int(major) >= _BF16_SINCE


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine as a plan sees it; sizes in bytes, `cores` are those this process may use."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    ram_bytes: int
    ram_free_bytes: int
    disk_free_bytes: int
    gpus: tuple[Gpu, ...] = ()
    system: str = "Linux"
    torch: str = ""  # the version that is installed, "2.13.0+cpu"

    @property
    def device(self) -> Literal["cpu", "cuda", "mps"]:
        """The fastest kind of device that is there and that torch can use."""
        return self.gpus[0].kind if self.gpus and not self.unused else "cpu"

    @property
    def unused(self) -> bool:
        """Whether there is a CUDA card which the installed torch, a build for processors, cannot use."""
        return bool(self.gpus) and self.gpus[0].kind == "cuda" and self.torch.endswith("+cpu")

    @property
    def fast_bf16(self) -> bool:
        """Whether the processor multiplies bf16 matrices in hardware."""
        return any(f in self.flags for f in ("amx_bf16", "avx512_bf16", "bf16"))

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """Return plain JSON values."""
        return asdict(self) | {"flags": list(self.flags), "gpus": [asdict(g) for g in self.gpus]}


def probe(disk: Path | None = None, proc: Path = Path("/proc")) -> Hardware:
    """Look at the machine; `disk` is a path on the device whose free space matters."""
    name, flags = _processor(proc / "cpuinfo")
    memory = psutil.virtual_memory()
    limit = _memory_limit(Path("/sys/fs/cgroup"))
    total = min(memory.total, limit) if limit is not None else memory.total
    return Hardware(
        cpu=name,
        cores=cores(),
        flags=flags,
        ram_bytes=total,
        ram_free_bytes=min(memory.available, total),
        disk_free_bytes=disk_free(disk if disk is not None else Path.cwd()),
        gpus=(*nvidia(), *_apple(memory.total, memory.available)),
        system=platform.system(),
        torch=lazy.version("torch"),
    )


def disk_free(path: Path) -> int:
    """Return the free bytes on the device that holds `path`, or would hold it."""
    return room.free_bytes(path)


def processor(proc: Path = Path("/proc")) -> str:
    """Return the processor's name."""
    return _processor(proc / "cpuinfo")[0]


def threads_asked() -> int | None:
    """Return the threads that OMP_NUM_THREADS asks for; None when it asks for none."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else None


def cores() -> int:
    """Count the physical cores this process may use; threads of one core share its multiplier."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    physical = psutil.cpu_count(logical=False)
    return min(c for c in (allowed, physical, os.cpu_count()) if c)


def _processor(path: Path) -> tuple[str, tuple[str, ...]]:
    """Read name and interesting flags from /proc/cpuinfo; elsewhere ask `platform`."""
    if not path.is_file():
        return platform.processor() or platform.machine(), ()
    found: dict[str, str] = {}
    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    have = set((found.get("flags", "") + " " + found.get("Features", "")).split())
    name = found.get("model name", platform.machine())
    return name, tuple(f for f in _FLAGS if f in have)


def _memory_limit(root: Path) -> int | None:
    """Return the memory limit of our control group (version 2, then 1), or None."""
    for file in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        if file.is_file():
            text = file.read_text().strip()
            return int(text) if text.isdigit() and int(text) < _UNLIMITED else None
    return None


def nvidia(
    run: Callable[[list[str]], str | None] = process.output, visible: str | None = None
) -> tuple[Gpu, ...]:
    """Ask nvidia-smi for the cards that programs may use; no program, a failure or no card is none.

    `visible` is CUDA_VISIBLE_DEVICES, by default that of this process: nvidia-smi does not obey it.
    """
    text = run(_SMI)
    gpus: list[tuple[Gpu, str]] = []
    for line in text.splitlines() if text else ():
        parts = [p.strip() for p in line.split(",")]
        if len(parts) in (4, 5) and parts[1].isdigit() and parts[2].isdigit():
            total, free = int(parts[1]) << 20, int(parts[2]) << 20
            gpus.append((Gpu("cuda", parts[0], total, free, parts[3]), "".join(parts[4:])))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    return tuple(gpu for gpu, _ in gpus) if chosen is None else _chosen(gpus, chosen)


def _chosen(gpus: Sequence[tuple[Gpu, str]], visible: str) -> tuple[Gpu, ...]:
    """Pick cards by number or the beginning of their UUID; the first that is none ends the list.

    Source: CUDA C++ programming guide, "CUDA Environment Variables". Part of a card (MIG-…) stands as its
    whole card: nvidia-smi's list of cards does not say which card it is of but in the older form of its
    name, so else only where there is one. Its memory is then said too large.
    """
    found = []
    for name in (part.strip() for part in visible.split(",")):
        if name.isdigit() and int(name) < len(gpus):
            found.append(gpus[int(name)][0])
            continue
        card = name.removeprefix("MIG-").partition("/")[0]
        match = [gpu for gpu, uuid in gpus if card.startswith("GPU-") and uuid.startswith(card)]
        if name.startswith("MIG-") and not card.startswith("GPU-"):
            match = [gpu for gpu, _ in gpus]
        if len(match) != 1:
            break
        found.append(match[0])
    return tuple(found)


def _apple(total: int, free: int) -> tuple[Gpu, ...]:
    """Report Apple's GPU, which shares the memory of the processor."""
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return ()
    return (Gpu("mps", "Apple GPU", total, free),)
