"""The ceiling: FLOPs by hand, measured once, and told as a share with every step."""

from pathlib import Path

import pytest
import torch
from tests.fakes import training

from stead.core import files
from stead.core.events import AnyEvent, Progress
from stead.core.paths import Home
from stead.models.load import load_model
from stead.training.watching import ceiling


def test_flops_are_four_per_frozen_and_six_per_learnt_weight(tiny_model: Path) -> None:
    """Per layer 64·(64 + 32 + 32 + 64) attention and 3·64·128 MLP weights, two layers, 320·64 output."""
    model = load_model(tiny_model, dtype="fp32", device="cpu").model
    whole = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128) + 320 * 64

    model.requires_grad_(False)
    frozen = ceiling.flops_per_token(model)
    model.requires_grad_(True)
    learnt = ceiling.flops_per_token(model)

    assert (frozen, learnt) == (4.0 * whole, 6.0 * whole)


def test_the_best_of_many_products_counts() -> None:
    times = iter([0.0, 0.1, 1.0, 1.02, 2.0, 2.1])

    found = ceiling.measure(torch.device("cpu"), torch.float32, clock=lambda: next(times))

    assert found == pytest.approx(2 * 512 * 1024 * 2048 / 0.02)


def test_the_measurement_is_made_once_and_not_for_short_runs(tiny_model: Path, home: Path) -> None:
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    place = home / "cache" / "system" / "ceiling.json"

    short = ceiling.full_speed(loaded, 49, Home(home))
    first = ceiling.full_speed(loaded, 50, Home(home))
    kept = files.read_json(place)
    files.write_json(place, {key: 2 * value for key, value in kept.items()})
    again = ceiling.full_speed(loaded, 1, Home(home))

    assert short is None
    assert first is not None
    assert again == 2 * first


@pytest.mark.spec("001-012")
def test_every_step_tells_its_share_of_the_ceiling(
    tiny_model: Path, tmp_path: Path, home: Path
) -> None:
    torch.set_num_threads(1)
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    ceiling.full_speed(loaded, 50, Home(home))
    events: list[AnyEvent] = []
    data = training.prepared(tmp_path / "data", training.rows(8))

    result = training.run(tiny_model, data, tmp_path / "run", emit=events.append)

    shares = [e.values["ceiling_share"] for e in events if isinstance(e, Progress)]
    assert len(shares) == 4
    assert all(0 < s < 1 for s in shares)
    assert 0 < result["ceiling_share"] < 1
