"""Lengths of all trees at once against one tree at a time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import preference

from stead.data import tree
from stead.data.pack import TokenStore
from stead.data.tree import shared_lengths, tree_length, tree_lengths

_ROW = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
    )
)
_PAIRS = st.lists(st.tuples(_ROW, _ROW), min_size=1, max_size=12)


def stores(folder: Path, rows: list[tuple[preference.Row, preference.Row]]) -> list[TokenStore]:
    made = preference.prepared_pairs(folder, rows)
    return [TokenStore.open(made, "train", name) for name in ("chosen", "rejected")]


@settings(max_examples=60)
@given(pairs=_PAIRS)
def test_all_lengths_at_once_are_those_of_single_trees(
    pairs: list[tuple[preference.Row, preference.Row]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Three words only, so that answers often begin alike; masks of any shape."""
    found = tree_lengths(stores(tmp_path_factory.mktemp("d") / "data", pairs))

    assert found.tolist() == [tree_length(pair) for pair in pairs]


def test_parts_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = preference.pairs(23)
    columns = stores(tmp_path / "data", rows)
    whole = tree_lengths(columns)

    monkeypatch.setattr(tree, "_ROWS", 4)

    assert np.array_equal(tree_lengths(columns), whole)
    assert shared_lengths(columns[:1], 0, 23).tolist() == [0] * 23
