"""Named areas: the limit is never passed, the oldest use goes first, counts match a counted trace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stead.core.cache import Area, Cache
from stead.core.errors import ConfigError

STEPS = st.lists(
    st.tuples(st.sampled_from("gp"), st.integers(0, 6), st.integers(0, 400)), max_size=60
)


@pytest.mark.spec("001-034", "000-089", "001-051")
@given(STEPS)
def test_the_limit_is_never_passed_and_the_counts_match_the_trace(steps):
    area, model, hits = Area("a", 1500), {}, 0
    for verb, name, size in steps:
        key = bytes([name])
        if verb == "g":
            found = area.get(key)
            hits += found is not None
            assert found is None or found == model[key]
        else:
            model[key] = bytes(size)
            area.put(key, model[key])
        assert area.stats.size_bytes <= 1500
    asked = sum(verb == "g" for verb, _, _ in steps)

    assert (area.stats.hits, area.stats.hits + area.stats.misses) == (hits, asked)


def test_least_recently_used_goes_first_and_age_ends_everything():
    now = [0.0]
    area = Area("a", 3 * 211, 60.0, clock=lambda: now[0])
    for key in (b"a", b"b", b"c"):
        area.put(key, b"x" * 10)
    area.get(b"a")
    area.put(b"d", b"x" * 10)
    assert [area.get(k) is not None for k in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    now[0] = 60.0
    assert area.get(b"a") is None
    assert (area.stats.evictions, area.stats.expired) == (1, 1)


def test_what_is_larger_than_the_area_pushes_nothing_out():
    area = Area("a", 500)
    area.put(b"small", b"1")
    area.put(b"large", bytes(1000))

    assert area.get(b"small") == b"1"
    assert area.get(b"large") is None


def test_an_area_has_one_limit():
    cache = Cache()
    assert cache.area("replies", 100) is cache.area("replies", 100)
    with pytest.raises(ConfigError, match="'replies' has 100 bytes"):
        cache.area("replies", 200)
    assert list(cache.stats()) == ["replies"]
