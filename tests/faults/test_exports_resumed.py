"""A run that is killed while it exports goes on with what is missing."""

import json
from pathlib import Path

import pytest
import torch

from stead.app import plans
from stead.core.errors import ConfigError
from stead.pipeline import stages
from stead.planning.plan import Plan


def plan_of(model: Path, folder: Path) -> Plan:
    path = folder / "rows.jsonl"
    rows = [{"question": f"what is {i}?", "answer": f"two plus {i}"} for i in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model.path": str(model), "data.path": str(path), "data.max_length": 64, "out": str(folder / "run"),
        "trainer.max_steps": 1, "trainer.trackers": [], "trainer.proofs": False, "model.dtype": "fp32",
        "export": [{"format": "merged", "quant": "fp16"}, {"format": "merged", "quant": "fp32"}],
    }  # fmt: skip
    return plans.make_plan(None, settings).placed(folder / "run")


def test_exports_that_are_there_are_kept_and_missing_ones_made(
    tiny_model: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    plan = plan_of(tiny_model, tmp_path)
    first = stages.run(plan)
    wanted = first.meta["artifacts"]
    kept = (Path(wanted[0]) / "model.safetensors").stat().st_mtime_ns
    record = tmp_path / "run" / "exports.json"
    made = json.loads(record.read_text())
    del made[wanted[1]]  # killed after the second was written, before that was noted
    record.write_text(json.dumps(made))

    again = stages.run(plan, resume=True)

    assert again.meta["artifacts"] == wanted
    assert (Path(wanted[0]) / "model.safetensors").stat().st_mtime_ns == kept
    assert json.loads(record.read_text()).keys() == set(wanted)


def test_a_place_that_the_user_named_is_never_written_over(
    tiny_model: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    plan = plan_of(tiny_model, tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    config = plan.config.model_copy(
        update={"export": (plan.config.export[0].model_copy(update={"out": str(mine)}),)}
    )

    with pytest.raises(ConfigError, match="nothing is overwritten"):
        stages.run(Plan(config, plan.origins, plan.model, plan.data, plan.hardware, plan.forecast))

    assert list(mine.iterdir()) == []
