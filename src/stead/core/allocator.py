"""Who gives a process its memory: the C library's ways, or oneTBB's in its place. Knows nothing about who holds it.

glibc keeps freed blocks of up to 32 MiB; those of other sizes seldom fit, so a process that frees and takes
tensors of many sizes grows to twice of what it holds. oneTBB's allocator sorts blocks by size and does not (docs/log.md).
"""

import ctypes
import os
import site
import sys
from functools import cache
from pathlib import Path

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_MAPPED_FROM, _KEPT_ON_TOP = 2 << 20, 256 << 20
_NAMES = ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2")  # of the package "tbb"
_VARIABLE = "LD_PRELOAD"


@cache
def scalable() -> tuple[Path, ...]:
    """Return the libraries of oneTBB's allocator; nothing where they are not installed or are of no use."""
    if not sys.platform.startswith("linux"):
        return ()
    for root in (sys.prefix, site.getuserbase()):
        found = tuple(Path(root, "lib", name) for name in _NAMES)
        is_cut = " " in root or ":" in root  # by ld.so
        if not is_cut and all(path.is_file() for path in found):
            return found
    return ()


def is_scalable() -> bool:
    """Say whether this process has oneTBB's allocator."""
    return bool(scalable()) and str(scalable()[-1]) in os.environ.get(_VARIABLE, "")


def restart_scalable() -> None:
    """Begin this program again with oneTBB's allocator, in the same process; return where that cannot be.

    To be called before anything is read from standard input or started. Programs that are started later
    get the C library's allocator: `core/process` passes no such variable on.
    """
    libraries = scalable()
    if not libraries or is_scalable():
        return
    named = " ".join((*map(str, libraries), os.environ.get(_VARIABLE, ""))).strip()
    os.execve(  # noqa: S606 - this very program, no shell
        sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {_VARIABLE: named}
    )


def give_back() -> bool:
    """Let glibc map blocks from 2 MiB on alone, so that they go when freed; say whether that is possible here.

    Halves the memory of recomputed layers outside the fast path; system calls cost up to half as much
    processor time again.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:  # musl
        return False
    return bool(set_option(_MMAP, _MAPPED_FROM)) and bool(set_option(_TRIM, _KEPT_ON_TOP))
