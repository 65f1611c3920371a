import errno
import hashlib
import os
import stat

import pytest

from stead.core import files
from stead.core.errors import NotFound, ResourceError


class Full:
    """A file that is full after its first bytes."""

    def __init__(self, number):
        self.number = number

    def __call__(self, *_):
        raise OSError(self.number, os.strerror(self.number))


def test_a_write_is_whole_and_has_its_mode(tmp_path):
    files.write_text(tmp_path / "deep" / "a.txt", "naïve", mode=0o600)

    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "naïve"
    assert stat.S_IMODE((tmp_path / "deep" / "a.txt").stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "deep") == ["a.txt"]


@pytest.mark.spec("001-059")
def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    files.write_bytes(path, b"old")

    with pytest.raises(RuntimeError), files.replacing(path) as file:  # noqa: PT012 - two steps
        file.write(b"new")
        raise RuntimeError

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, number):
    with pytest.raises(ResourceError) as caught, files.replacing(tmp_path / "a"):
        Full(number)()

    assert caught.value.code == "disk-full"
    assert os.listdir(tmp_path) == []


def test_another_os_error_is_not_called_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), files.replacing(tmp_path / "a"):
        Full(errno.EACCES)()


@pytest.mark.spec("001-059")
def test_json_goes_round_and_nan_is_refused(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1, "ü", None]})

    assert files.read_json(tmp_path / "a.json") == {"b": [1, "ü", None]}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "b.json", float("nan"))
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_absent_json_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"none\.json"):
        files.read_json(tmp_path / "none.json")


def test_a_value_hashes_by_content_not_by_order():
    assert files.hash_value({"a": 1, "b": "ü"}) == files.hash_value({"b": "ü", "a": 1})
    assert files.canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()


def test_a_file_hashes_as_sha256(tmp_path):
    data = os.urandom(1 << 20) + b"tail"
    (tmp_path / "a").write_bytes(data)

    assert files.hash_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_package_data_is_read():
    assert "hidden_size" in files.package_text("stead.hub", "config_fields.txt")


def test_publish_moves_a_finished_file(tmp_path):
    (tmp_path / "part").write_bytes(b"x")

    files.publish(tmp_path / "part", tmp_path / "whole")

    assert os.listdir(tmp_path) == ["whole"]
