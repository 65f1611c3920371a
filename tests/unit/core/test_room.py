import pytest

from stead.core import room
from stead.core.errors import ResourceError


def test_a_place_that_is_not_there_yet_is_measured_by_its_parent(tmp_path):
    assert room.free_bytes(tmp_path / "not" / "yet") == pytest.approx(
        room.free_bytes(tmp_path), rel=0.05
    )


def test_what_fits_passes(tmp_path):
    room.require(tmp_path, 1, what="a file")


def test_what_does_not_fit_is_refused_with_needed_and_available(tmp_path):
    with pytest.raises(ResourceError) as caught:
        room.require(tmp_path, 1 << 60, what="hf:org/large")

    assert caught.value.code == "disk-full"
    assert caught.value.details["needed"] == 1 << 60
    assert str(caught.value.details["available"]) in caught.value.message
