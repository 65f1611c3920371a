"""What a run needed, read off its meters; the file of records; the machine's measurements."""

from pathlib import Path
from typing import Any

import pytest

from stead.config.run import RunConfig
from stead.core.hardware import Hardware
from stead.core.paths import Home
from stead.planning import history, lessons, machine
from stead.planning.machine import Machine

MEASURED: dict[str, Any] = {
    "whole": True, "step_s": 10.0, "loop_s": 14.0, "ran_share": 0.5, "stage_s": 20.0,
    "stage_ran_share": 0.8, "begun_s": 3.0, "begun_ran_share": 1.0, "begun_bytes": 100, "begun_peak_bytes": 110,
    "peak_bytes": 900, "device_peak_bytes": None,
}  # fmt: skip
CPU = Hardware("cpu x", 2, ("avx2", "avx512f", "amx_bf16"), 1 << 34, 1 << 34, 1 << 36)
CONFIG = RunConfig(model={"path": "m", "device": "cpu", "dtype": "bf16"}, data={"path": "d"})


def test_seconds_are_those_of_an_idle_machine() -> None:
    found = history.needed(MEASURED, on_cpu=True)

    assert found["steps"] == 10.0 * 0.5
    assert found["around"] == 3.0 + 4.0 * 0.5 + 6.0 * 0.8
    assert found["seconds"] == found["steps"] + found["around"]


@pytest.mark.parametrize(
    ("more", "on_cpu", "memory"),
    [
        ({}, True, 900.0),
        ({"begun_peak_bytes": 900}, True, None),  # something before the run was as large
        ({"device_peak_bytes": 5000}, False, 5000.0),
        ({}, False, None),
    ],
)
def test_memory_is_the_own_peak_of_the_device(
    more: dict[str, Any], on_cpu: bool, memory: float | None
) -> None:
    assert history.needed(MEASURED | more, on_cpu=on_cpu)["memory"] == memory


def test_an_old_process_has_no_start() -> None:
    young, old = (history.needed(MEASURED | {"begun_s": s}, on_cpu=True) for s in (3.0, 4000.0))

    assert young["around"] - old["around"] == 3.0  # type: ignore[operator] # both are numbers


def test_what_is_known_after_the_run_replaces_what_was_assumed() -> None:
    counted = {"memory": {"process": 50.0, "rows": 7.0}, "around": {"prepare": 2.0}}

    fresh = history.counted(counted, MEASURED)
    cached = history.counted(counted, MEASURED | {"prepared_before": True})

    assert fresh["memory"] == {"process": 100.0, "rows": 7.0}
    assert (cached["memory"]["rows"], cached["around"]["prepare"]) == (0.0, 0.0)
    assert counted["memory"]["process"] == 50.0


def record(name: str = "cpu x", rates: str = "table", **more: Any) -> dict[str, Any]:
    kind = {"device": "cpu", "name": name, "dtype": "bf16", "method": "sft", "adapter": "lora"}
    return {
        "version": history.VERSION, "kind": kind, "rates": rates, "ran_share": 1.0,
        "counted": {"steps": {"products": 1.0}, "memory": {"weights": 1.0}},
        "needed": {"steps": 2.0, "memory": 2.0, "seconds": 8.0},
        "said": {"memory": 1.0, "seconds": 10.0},
    } | more  # fmt: skip


UNMEASURED = Machine({512: 1.0}, 1.0, 1.0, 1.0, "", measured=False)
WANTED = record()["kind"]


def test_seconds_are_learnt_on_this_processor_only_and_bytes_everywhere() -> None:
    elsewhere = [record(name="cpu y") for _ in range(5)]

    assert lessons.learn(elsewhere, WANTED, "steps", UNMEASURED).runs == 0
    assert lessons.learn(elsewhere, WANTED, "memory", UNMEASURED).runs == 5


def test_rates_of_another_kind_are_another_unit() -> None:
    records = [record(rates="measured")] * 3 + [record(rates="table")] * 2

    assert lessons.learn(records, WANTED, "steps", UNMEASURED).runs == 2


def test_runs_that_mostly_waited_say_nothing_about_seconds() -> None:
    records = [record(ran_share=0.1), record(ran_share=0.9)]

    assert lessons.learn(records, WANTED, "steps", UNMEASURED).runs == 1


def test_a_peak_while_loading_teaches_nothing_about_training() -> None:
    counted = record()["counted"] | {"load": {"peak": 2.0}}

    assert lessons.learn([record(counted=counted)], WANTED, "memory", UNMEASURED).runs == 0


def test_the_error_is_that_of_the_last_runs_as_they_were_printed() -> None:
    found = history.past_error([record(needed={"seconds": 1.0})] * 30 + [record()] * 12)

    assert (found.runs, found.memory, found.time) == (12, 0.5, 0.25)


def test_a_machine_is_taken_from_the_table_until_it_is_measured(home: Path) -> None:
    where = Home(home)
    before = machine.machine(CONFIG, CPU, where, 2)
    name = machine.entry("cpu x", "bf16", 2)
    machine.keep(where, name, {"gflops": {"128": 100, "512": 400}, "bytes_per_s": 7e9})
    machine.keep(where, "worker", {"process_bytes": 5e8, "start_s": 1.5})

    after = machine.machine(CONFIG, CPU, where, 2)

    assert (before.rates, after.rates) == ("table", "measured")
    assert "no measurement" in before.basis
    assert after.rate(512) == 400e9
    assert after.rate(256) == pytest.approx(200e9)  # half way by logarithm
    assert after.rate(64) == 100e9
    assert (after.process_bytes, after.start_s) == (5e8, 1.5)


def test_a_damaged_file_of_measurements_counts_as_none(home: Path) -> None:
    where = Home(home)
    machine.keep(where, "worker", {"process_bytes": 1, "start_s": 1})
    machine.path(where).write_text("{")

    assert machine.read(where) == {}
