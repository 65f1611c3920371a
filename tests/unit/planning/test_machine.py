"""Rates of a machine that was measured with another count of lanes than the run's."""

from pathlib import Path

import pytest

from stead.config.run import DataSection, RunConfig
from stead.core import hardware
from stead.core.paths import Home
from stead.planning import machine

CONFIG = RunConfig(
    model={"path": "m", "device": "cpu", "dtype": "fp32"}, data=DataSection(path="d", max_length=64)
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = Home(tmp_path)
    machine.keep(
        found, machine.entry(hardware.processor(), "fp32", 2),
        {"gflops": {"128": 100.0, "512": 200.0}, "bytes_per_s": 1e10},
    )  # fmt: skip
    return found


def rates(home: Home, lanes: int) -> machine.Machine:
    return machine.machine(CONFIG, hardware.probe(), home, lanes)


def test_one_lane_has_the_cores_that_two_lanes_had(home: Home) -> None:
    one, two = rates(home, 1), rates(home, 2)
    assert one.measured
    assert two.measured
    assert one.gflops == {128: 200.0, 512: 400.0}
    assert two.gflops == {128: 100.0, 512: 200.0}
    assert one.bytes_per_s == 2 * two.bytes_per_s
    assert one.basis == "measured on 2 lanes"


def test_one_lane_of_one_thread_is_one_of_two(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert rates(home, 1).gflops == {128: 100.0, 512: 200.0}


def test_another_number_type_says_nothing(home: Home) -> None:
    other = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"dtype": "bf16"})})
    assert not machine.machine(other, hardware.probe(), home, 1).measured
