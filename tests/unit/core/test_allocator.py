"""Blocks go back to the system when they are freed, in a process of its own."""

import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, sys
from stead.core import allocator
if sys.argv[1] == "yes":
    assert allocator.give_back()
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
first = c.malloc(31 << 20); c.free(first)  # from here on glibc keeps blocks of this size
blocks = [c.malloc((3 + i % 5) << 20) for i in range(40)]
for b in blocks: ctypes.memset(b, 1, 3 << 20)
for b in blocks[:-1]: c.free(b)  # the last one holds the heap's end
print(int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20)
"""


def resident(asked: str) -> int:
    argv = [sys.executable, "-c", _PROGRAM, asked]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_blocks_are_given_back() -> None:
    assert resident("yes") < resident("no") - 60
