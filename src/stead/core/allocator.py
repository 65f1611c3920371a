"""Ask the C library to give big blocks back at once. Knows nothing about who holds them.

glibc keeps freed blocks of up to 32 MiB for later; those of other sizes seldom fit, so a process that
frees and takes tensors of many sizes grows to twice of what it holds (docs/log.md).
"""

import ctypes
import sys

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_MAPPED_FROM, _KEPT_ON_TOP = 2 << 20, 256 << 20


def give_back() -> bool:
    """Let blocks from 2 MiB on be mapped alone and go when freed; say whether that is possible here.

    Halves the memory of recomputed layers; system calls cost up to half as much processor time again.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:  # musl
        return False
    return bool(set_option(_MMAP, _MAPPED_FROM)) and bool(set_option(_TRIM, _KEPT_ON_TOP))
