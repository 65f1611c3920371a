"""The guide's table names every adapter, and tells truly which can be merged."""

from pathlib import Path

import pytest

from stead.config.kinds import registry
from stead.core.errors import ModelError
from stead.models.adapter import Origin
from stead.models.deltas import Adapter
from stead.models.layers import layers
from stead.models.load import load_model

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "adapters.md"
ROWS = {
    row[0].strip("` "): row
    for line in GUIDE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `") and len(row := [c.strip() for c in line.strip("|").split("|")]) == 5
}


def test_the_table_has_every_adapter() -> None:
    assert sorted(ROWS) == registry("adapter").names()


@pytest.mark.parametrize("name", ROWS)
def test_the_table_says_what_can_be_merged(name: str, tiny_model: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    adapter = registry("adapter").create(name, config=registry("adapter").config_of(name)())
    said = ROWS[name][3]
    if adapter.kind == "model":
        assert said == "–"
        return
    adapter.wrap(loaded.model, layers, 1)
    adapter.save(loaded.model, layers, tmp_path, Origin(tiny_model))

    try:
        Adapter.open(tmp_path)
        merges = "yes"
    except ModelError as error:
        merges = {"adapter-type": "no"}[error.code]

    assert said == merges
    assert ROWS[name][4] == "PEFT's"
