"""The hardware probe, with and without a GPU; no library is asked."""

import os
from pathlib import Path

import pytest

from stead.core import hardware
from stead.core.hardware import Hardware, probe


@pytest.mark.spec("002-011")
def test_the_probe_finds_this_machine() -> None:
    found = probe()

    assert found.cores >= 1
    assert 0 < found.ram_free_bytes <= found.ram_bytes
    assert found.disk_free_bytes > 0
    assert found.cpu


@pytest.mark.spec("001-039")
def test_no_nvidia_program_is_a_clear_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert hardware.nvidia() == ()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("NVIDIA H200, 143771, 143000, 9.0\n", [("NVIDIA H200", 143771 << 20, "9.0")]),
        ("A, 100, 50, 8.6\nB, 200, 20, 7.5\n", [("A", 100 << 20, "8.6"), ("B", 200 << 20, "7.5")]),
        ("No devices were found\n", []),
        ("A, [N/A], [N/A], 8.0\n", []),
        (None, []),
    ],
)
def test_what_nvidia_smi_prints_is_read(
    output: str | None, expected: list[tuple[str, int, str]]
) -> None:
    found = hardware.nvidia(lambda argv: output)

    assert [(g.name, g.memory_bytes, g.capability) for g in found] == expected


TWO = "A, 100, 50, 8.6, GPU-aa11\nB, 200, 20, 12.0, GPU-ab22\n"


@pytest.mark.parametrize(
    ("visible", "names"),
    [("0,1", "AB"), ("1,0", "BA"), ("1", "B"), ("", ""), ("-1", ""), ("0,7,1", "A"),
     ("GPU-ab", "B"), ("GPU-a", ""), ("MIG-GPU-ab22/1/0", "B"),
     ("MIG-5c89", "")],
)  # fmt: skip
def test_cards_that_programs_may_not_see_are_not_counted(visible: str, names: str) -> None:
    found = hardware.nvidia(lambda argv: TWO, visible)

    assert "".join(g.name for g in found) == names


def test_a_part_of_the_only_card_is_a_card() -> None:
    """A plan that took it for none would put a run with a GPU on the processor."""
    one = TWO.splitlines(keepends=True)[0]

    assert [g.name for g in hardware.nvidia(lambda argv: one, "MIG-5c89")] == ["A"]


def test_the_environment_says_which_cards_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")

    assert [g.name for g in hardware.nvidia(lambda argv: TWO)] == ["B"]


@pytest.mark.parametrize(
    ("capability", "fast"),
    [("7.5", False), ("8.0", True), ("10.0", True), ("12.0", True), ("[N/A]", False), ("", False)],
)
def test_a_capability_is_a_number_not_a_word(capability: str, fast: bool) -> None:
    assert hardware.Gpu("cuda", "X", 1, 1, capability).fast_bf16 == fast


@pytest.mark.parametrize(("build", "device"), [("2.13.0+cpu", "cpu"), ("2.13.0+cu128", "cuda"), ("", "cuda")])  # fmt: skip
def test_a_card_that_torch_cannot_use_is_not_the_device(build: str, device: str) -> None:
    card = hardware.Gpu("cuda", "X", 1, 1, "8.0")

    assert Hardware("c", 1, (), 1, 1, 1, gpus=(card,), torch=build).device == device


@pytest.mark.parametrize("script", ["exit 9", "echo 'NVIDIA X, 10, 5, 8.0'"])
def test_a_real_program_of_that_name_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert len(hardware.nvidia()) == (1 if script.startswith("echo") else 0)


def test_processor_flags_are_read(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "model name\t: Fast CPU\nflags\t\t: fpu avx2 amx_bf16\n\nmodel name\t: Fast CPU\n"
    )

    found = probe(proc=tmp_path)

    assert (found.cpu, found.flags, found.fast_bf16) == ("Fast CPU", ("avx2", "amx_bf16"), True)


def test_free_disk_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    assert hardware.disk_free(tmp_path / "a" / "b") == hardware.disk_free(tmp_path)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "1048576\n"}, 1 << 20),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_memory_limit_of_the_control_group(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert hardware._memory_limit(tmp_path) == limit


def test_the_fastest_device_is_the_first_gpu() -> None:
    gpu = hardware.Gpu("cuda", "X", 1, 1)
    with_gpu = Hardware("c", 1, (), 1, 1, 1, gpus=(gpu,))

    assert with_gpu.device == "cuda"
    assert Hardware("c", 1, (), 1, 1, 1).device == "cpu"
    assert with_gpu.to_dict()["gpus"][0]["name"] == "X"
