"""Meters of this process: what they read, and what they say where /proc is missing or odd."""

import subprocess
import sys
from pathlib import Path

import pytest

from stead.core import usage
from stead.core.usage import Usage


@pytest.mark.spec("001-051")
def test_work_shows_as_processor_time_and_memory_as_a_peak() -> None:
    before = usage.read()

    block = bytearray(b"x" * (64 << 20))
    total = sum(i * i for i in range(200_000))
    used = usage.read().since(before)

    assert (len(block), total) != (0, 0)
    assert used.cpu_s > 0
    assert used.peak_bytes >= used.resident_bytes > 64 << 20


def test_the_peak_leaves_out_what_the_parent_held() -> None:
    """ru_maxrss of a child begins with its parent's size at the fork; VmHWM does not."""
    block = bytearray(b"x" * (256 << 20))

    code = "from stead.core import usage; print(usage.read().peak_bytes)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert int(found.stdout) < len(block)


def test_the_share_of_running_is_one_when_nobody_waited() -> None:
    assert Usage(2.0, 1.5, 0.0, 0, 0).ran_share == 1.0
    assert Usage(2.0, 1.0, 1.0, 0, 0).ran_share == 0.5
    assert Usage(0.0, 0.0, 0.0, 0, 0).ran_share == 1.0


def test_waiting_is_added_up_over_threads(tmp_path: Path) -> None:
    for number, text in (("1", "5 2000000000 3"), ("2", "9 500000000 1"), ("3", "")):
        (tmp_path / "task" / number).mkdir(parents=True)
        (tmp_path / "task" / number / "schedstat").write_text(text)
    (tmp_path / "schedstat").write_text("3000000000 1000000000 2")
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n")

    found = usage.read(tmp_path)

    assert found.wait_s == 2.5
    assert found.main_ran_share == 0.75
    assert (found.peak_bytes, found.resident_bytes) == (2048 << 10, 1024 << 10)


def test_without_proc_the_sizes_come_from_the_system(tmp_path: Path) -> None:
    found = usage.read(tmp_path)

    assert found.wait_s == 0
    assert found.peak_bytes == found.resident_bytes > 0


@pytest.mark.parametrize("proc", ["/proc", "/nowhere"])
def test_a_process_has_an_age(proc: str) -> None:
    assert 0 < usage.age_s(Path(proc)) < 1e6
