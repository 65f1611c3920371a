"""Nearest names."""

import pytest

from stead.core.suggest import distance, nearest


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("", "", 0), ("abc", "", 3), ("abc", "acb", 1), ("kitten", "sitting", 3), ("lr", "l", 1)],
)
def test_distance_counts_edits_and_swaps(a: str, b: str, expected: int) -> None:
    assert distance(a, b) == expected
    assert distance(b, a) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("warmpu", "warmup"), ("clp", "clip"), ("zzzz", None), ("CLIP", "clip"), ("", None)],
)
def test_the_nearest_name_or_none(typed: str, expected: str | None) -> None:
    assert nearest(typed, ["warmup", "clip", "keep"]) == expected


def test_nothing_is_near_among_no_names() -> None:
    assert nearest("a", []) is None
