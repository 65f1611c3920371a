"""Every recipe runs as it stands, tiny: two steps on a few rows of the real data, with a seeded model."""

import os
from pathlib import Path

import pytest

import stead

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
