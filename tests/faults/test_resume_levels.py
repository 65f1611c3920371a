"""What a run was made of is compared when it resumes: every field counts, none is lowered silently (TR4)."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import training
from tests.fakes.training import Settings

from stead.core.errors import CheckpointError, Interrupted, SteadError
from stead.core.events import AnyEvent
from stead.core.process import stop_requested
from stead.training.saving import fingerprint, resume
from stead.values import PreparedData

NO_MATTER = {
    "keep",
    "log_every",
    "samples",
    "trackers",
    "proofs",
    "allow",
}  # change no bit of the result
CONTENT = {"model", "data", "config"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def stopped(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PreparedData, Path]:
    """A run that was stopped after its first step."""
    folder = tmp_path_factory.mktemp("run")
    data = training.prepared(folder / "data", training.rows(8))
    stop_requested.clear()

    def stop(event: AnyEvent) -> None:
        if getattr(event, "done", None) == 1:
            stop_requested.set()

    with pytest.raises(Interrupted):
        training.run(tiny_model, data, folder / "run", emit=stop)
    return data, folder / "run"


def saved(run: Path) -> dict[str, Any]:
    state = json.loads((run / "checkpoints" / "step-00000001" / "state.json").read_text())
    found: dict[str, Any] = state["fingerprint"]
    return found


def test_every_field_of_the_fingerprint_is_refused_or_recorded(
    stopped: tuple[PreparedData, Path],
) -> None:
    found = saved(stopped[1])
    assert {"model", "data", "config", "code", "stead", "torch", "transformers", "cpu", "processor",
            "machine", "device", "dtype", "threads", "lanes", "world"} == set(found)  # fmt: skip

    for name in found:
        other = found | {name: "something else"}
        level = "best-effort" if name in CONTENT else "same-order"
        below = fingerprint.LEVELS[: fingerprint.LEVELS.index(level)]
        for allowed in below:
            with pytest.raises(CheckpointError, match=name) as caught:
                fingerprint.check(found, other, allowed)
            assert caught.value.code == "fingerprint-changed"
            # the run's own settings need no level: going on under them is exact
            assert (level in str(caught.value.hint)) == (name != "config")
        assert fingerprint.check(found, other, level) == level
    assert fingerprint.check(found, dict(found), "best-effort") == "exact"


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
def test_every_setting_of_the_trainer_is_in_the_fingerprint(name: str) -> None:
    class Probe:
        """Stands for parts: only the settings and names are read."""

    probe: Any = Probe()
    probe.trainer = Settings()
    probe.learning = type("L", (), {"method": "sft", "method_config": {}, "adapter": "lora", "adapter_config": {}})()  # fmt: skip

    before = resume.settings_hash(probe)
    probe.trainer = replace(Settings(), **{name: "something else"})

    assert (resume.settings_hash(probe) == before) == (name in NO_MATTER)


@pytest.mark.parametrize("resume", [False, True])
def test_what_cannot_go_on_is_refused_before_anything_is_proved(
    resume: bool, stopped: tuple[PreparedData, Path], tiny_model: Path
) -> None:
    data, out = stopped
    more = {"adapter_config": {"r": 4}, "lr": 1e-4} if resume else {}

    with pytest.raises(SteadError, match=r"adapter\.r: \w+ → 4|checkpoints up to step 1") as caught:
        training.run(tiny_model, data, out, resume=resume, proofs=True, **more)

    assert not (out / "proofs.json").exists()
    assert str(out) in str(caught.value.hint) or resume


def test_a_lowered_level_is_recorded_in_the_run(
    stopped: tuple[PreparedData, Path], tiny_model: Path
) -> None:
    data, out = stopped

    with pytest.raises(CheckpointError, match=r"\(trainer\.clip: 1\.0 → 0\.5\)"):
        training.run(tiny_model, data, out, resume=True, clip=0.5)
    result = training.run(tiny_model, data, out, resume="best-effort", clip=0.5)

    assert result["resume_level"] == "best-effort"
    kept = json.loads((out / "final" / "stead.json").read_text())["resumes"]
    assert kept == [{"step": 1, "level": "best-effort"}]
