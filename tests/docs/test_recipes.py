"""Every recipe runs as it stands, tiny: two steps on a few rows of the real data, with a seeded model."""

import os
from pathlib import Path

import pytest

import stead
from stead.app import strategies, trials
from stead.app.strategy_library import find
from stead.core.paths import Home

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TINY = {
    "trainer.max_steps": 2,
    "data.limit": 12,
    "evaluation.limit": 2,
    "evaluation.max_new_tokens": 4,
    "data.max_length": 248,
}


@pytest.mark.skipif(
    not DATA.is_dir(), reason="not run: the real data sets are not beside the checkout"
)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains(recipe, tmp_path, tiny_model, monkeypatch):
    monkeypatch.setitem(os.environ, "STEAD_MODEL", str(tiny_model))
    monkeypatch.setitem(os.environ, "STEAD_DATA", str(DATA))
    monkeypatch.setitem(os.environ, "STEAD_TEACHER", str(tiny_model))

    checkpoint = stead.train(recipe, out=tmp_path / "run", **TINY)

    assert checkpoint.step == 2
    assert (checkpoint.path / "stead.json").is_file()


ASKED_FIRST = {
    "cloud_with_standby": dict.fromkeys(("short", "long", "code", "image", "tools"), "cloud_api"),
    "own_model_first": {"short": "model_app", "code": "model_app", "image": "large"},
    "vendors_by_task": {"short": "cloud_api", "code": "coder", "image": "eyes"},
}


@pytest.mark.parametrize(
    "file", sorted((ROOT / "recipes" / "strategies").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_strategy_asks_whom_it_says(file, tiny_gguf, home, monkeypatch):
    monkeypatch.setitem(os.environ, "STEAD_GGUF", str(tiny_gguf))
    for name in ("OPENAI", "ANTHROPIC", "GEMINI"):
        monkeypatch.setitem(os.environ, f"{name}_API_KEY", "k-12345678")
    place = Home(home)
    found = find(file, place, os.environ)

    made = strategies.composed(found, place, strategies.Around(os.environ))
    looks = [trials.outlook(found.strategy, made, sample) for sample in trials.samples()]

    first = {look.sample: look.steps[0].name for look in looks}
    assert first | ASKED_FIRST[file.stem] == first
