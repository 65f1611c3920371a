"""Blocks go back to the system when they are freed, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from stead.core import allocator

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


_AGAIN = """
import os, sys
from stead.core import allocator
print(os.getpid(), allocator.is_scalable(), sys.argv[1:], flush=True)
allocator.restart_scalable()
print("tbbmalloc_proxy" in open("/proc/self/maps").read(), flush=True)
from stead.core import process
print("LD_PRELOAD" in process.environment(), flush=True)
"""


@pytest.mark.skipif(not allocator.scalable(), reason="oneTBB's allocator is not installed")
def test_a_program_begins_again_with_the_other_allocator_and_is_the_same_process(
    tmp_path: Path,
) -> None:
    program = tmp_path / "again.py"
    program.write_text(_AGAIN)
    found = subprocess.run(
        [sys.executable, str(program), "a b"], check=True, capture_output=True, text=True
    )
    first, second, loaded, passed_on = found.stdout.splitlines()
    assert first.split()[0] == second.split()[0]  # the process that others watch is still it
    assert first.endswith("False ['a b']")
    assert second.endswith("True ['a b']")
    assert loaded == "True"
    assert passed_on == "False"


def test_libraries_whose_path_the_loader_would_cut_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, usable in (("with space", False), ("plain", True)):
        lib = tmp_path / name / "lib"
        lib.mkdir(parents=True)
        for library in ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2"):
            (lib / library).touch()
        monkeypatch.setattr(sys, "prefix", str(tmp_path / name))
        monkeypatch.setattr("site.getuserbase", lambda: "/nowhere")
        monkeypatch.setattr(sys, "platform", "linux")
        allocator.scalable.cache_clear()
        assert bool(allocator.scalable()) is usable
    allocator.scalable.cache_clear()
