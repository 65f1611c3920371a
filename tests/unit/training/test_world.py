"""Two processes that train together: the curve of one with the doubled batch, and what they leave."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import training

from stead.core.errors import CheckpointError, ConfigError
from stead.training.stepping.world import World

PROGRAM = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.fakes import training
from stead.training.stepping.world import World
from stead.values import PreparedData

job = json.loads(sys.argv[1])
world = World.join(sharded=job.get("sharded", False))
result = training.run(
    Path(job["model"]), PreparedData.open(Path(job["data"])), Path(job["out"]), world=world,
    accumulation=1, shuffle=True, adapter=job["adapter"],
    adapter_config=job.get("adapter_config", {}), resume=job["resume"], **job["settings"],
)
world.leave()
"""


def together(count: int, **job: object) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}",
            "--no-python", sys.executable, "-c", PROGRAM, json.dumps(job)]  # fmt: skip
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-6000:]


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.spec("001-036", "002-063")
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_two_processes_follow_one_with_the_doubled_batch(
    tiny_model: Path, tmp_path: Path, adapter: str
) -> None:
    data = training.prepared(tmp_path / "data", training.rows(14))
    training.run(tiny_model, data, tmp_path / "one", adapter=adapter, accumulation=2, epochs=2.0)

    together(2, model=str(tiny_model), data=str(data.path), out=str(tmp_path / "two"),
             adapter=adapter, resume=False, settings={"epochs": 2.0})  # fmt: skip

    assert len(losses(tmp_path / "two")) == 8  # 14 rows, 2 a process and step
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=2e-6)
    assert (tmp_path / "two" / "final").is_dir()


# Spread layers run transformers' own code, ours alone the fused one: rounding differs, and so do masks of dropout.
PLAIN = {"lora": {"dropout": 0.0}, "full": {}}


@pytest.mark.spec("003-036")
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_spread_layers_give_the_same_curve_and_model(
    tiny_model: Path, tmp_path: Path, adapter: str
) -> None:
    data = training.prepared(tmp_path / "data", training.rows(14), training.rows(3, seed=5))
    settings = {"epochs": 2.0, "checkpoint_every": 3}
    alone = {"adapter": adapter, "adapter_config": PLAIN[adapter], "accumulation": 2, **settings}
    training.run(tiny_model, data, tmp_path / "one", **alone)

    together(2, model=str(tiny_model), data=str(data.path), out=str(tmp_path / "two"),
             adapter=adapter, adapter_config=PLAIN[adapter], resume=False, sharded=True,
             settings=settings)  # fmt: skip

    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=5e-5)
    one, two = (weights(tmp_path / name / "final") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        # Adam makes a whole step of a gradient that is next to nothing: single numbers may differ.
        assert float((two[name] - tensor).abs().mean()) < 1e-5, name
    shutil.rmtree(tmp_path / "two" / "final")
    with pytest.raises(CheckpointError, match="world: 2 → 1"):
        training.run(tiny_model, data, tmp_path / "two", resume=True, **alone)
    # another world is another config (accumulation), so "best-effort" is the level to name
    training.run(tiny_model, data, tmp_path / "two", resume="best-effort", **alone)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=5e-5)


def weights(final: Path) -> dict[str, torch.Tensor]:
    return {n: t for p in sorted(final.glob("*.safetensors")) for n, t in load_file(p).items()}


SMALLER = {
    "qat": {"bits": 8},
    "pruning": {"method": "wanda", "every": 1},  # every process saw other inputs
    "prefix": {"tokens": 3},
}


@pytest.mark.parametrize("adapter", SMALLER)
def test_two_processes_choose_and_round_alike(
    tiny_model: Path, tmp_path: Path, adapter: str
) -> None:
    data = training.prepared(tmp_path / "data", training.rows(16))
    same = {"adapter": adapter, "adapter_config": SMALLER[adapter]}
    training.run(tiny_model, data, tmp_path / "one", accumulation=2, epochs=2.0, lr=1e-3, **same)

    together(2, model=str(tiny_model), data=str(data.path), out=str(tmp_path / "two"),
             resume=False, settings={"epochs": 2.0, "lr": 1e-3}, **same)  # fmt: skip

    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


def test_spread_layers_cannot_be_rounded_as_a_whole(tiny_model: Path, tmp_path: Path) -> None:
    data = training.prepared(tmp_path / "data", training.rows(4))

    with pytest.raises(ConfigError, match="rounds whole matrices"):
        training.run(tiny_model, data, tmp_path / "run", adapter="qat", world=World(0, 1, True))


@pytest.fixture
def third_of_four(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Be number two of four, on a machine with cards; return what was asked of torch."""
    asked: list[object] = []
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "4"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.distributed, "init_process_group", asked.append)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    return asked


def test_each_process_takes_a_card_and_numbers_still_go_by_the_processors(
    third_of_four: list[object],
) -> None:
    assert World.join(device="cuda").rank == 2

    assert third_of_four == [2, "cpu:gloo,cuda:nccl"]


def test_a_run_on_processors_needs_no_card(third_of_four: list[object]) -> None:
    World.join(device="cpu")

    assert third_of_four == ["gloo"]


def test_more_processes_than_cards_are_refused(
    third_of_four: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)

    with pytest.raises(ConfigError, match="is 4, but there are 3 cards") as caught:
        World.join(device="cuda")

    assert caught.value.code == "too-few-cards"
    assert third_of_four == []
