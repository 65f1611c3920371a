import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core import files, manifest
from stead.core.errors import CheckpointError, ResourceError

KIND = "sample"


def fill(folder):
    (folder / "a.txt").write_text("one")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.bin").write_bytes(b"\0" * 100)


@pytest.fixture
def folder(tmp_path):
    manifest.commit(tmp_path / "out", KIND, fill, {"step": 3})
    return tmp_path / "out"


def code(call, *arguments):
    with pytest.raises(CheckpointError) as caught:
        call(*arguments)
    return caught.value.code


def test_a_committed_folder_verifies_with_its_facts(folder):
    found = manifest.verify(folder, KIND)

    assert found.meta == {"step": 3}
    assert sorted(found.files) == ["a.txt", "sub/b.bin"]
    assert found.files["a.txt"] == {"bytes": 3, "sha256": files.hash_file(folder / "a.txt")}


def test_the_hash_is_of_the_content_not_of_the_facts(tmp_path):
    one = manifest.commit(tmp_path / "one", KIND, fill, {"step": 1})
    two = manifest.commit(tmp_path / "two", KIND, fill)
    other = manifest.commit(tmp_path / "other", "else", fill)

    assert one.hash == two.hash != other.hash


def test_nothing_is_overwritten(folder):
    assert code(manifest.commit, folder, KIND, fill) == "exists"


def test_a_failed_fill_leaves_nothing(tmp_path):
    def broken(folder):
        fill(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        manifest.commit(tmp_path / "out", KIND, broken)

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, ResourceError), (errno.EDQUOT, ResourceError), (errno.EIO, ResourceError)],
)
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, number, kind):
    def full(_):
        raise OSError(number, os.strerror(number))

    with pytest.raises(kind):
        manifest.commit(tmp_path / "out", KIND, full)

    assert os.listdir(tmp_path) == []


def test_a_link_is_not_committed(tmp_path):
    def linked(folder):
        (folder / "x").symlink_to("/etc/passwd")

    assert code(manifest.commit, tmp_path / "out", KIND, linked) == "not-plain"


def test_a_changed_byte_is_named(folder):
    (folder / "sub" / "b.bin").write_bytes(b"\0" * 99 + b"\1")

    with pytest.raises(CheckpointError, match=r"sub/b\.bin") as caught:
        manifest.verify(folder)
    assert caught.value.code == "changed-file"


def test_a_changed_length_is_named(folder):
    (folder / "a.txt").write_text("longer")

    assert code(manifest.verify, folder) == "changed-file"


def test_a_missing_file_is_named(folder):
    (folder / "a.txt").unlink()

    assert code(manifest.verify, folder) == "missing-file"


def test_a_stranger_is_named(folder):
    (folder / "extra").write_text("")

    assert code(manifest.verify, folder) == "foreign-file"


def test_a_folder_of_another_kind_is_refused(folder):
    assert code(manifest.read, folder, "else") == "wrong-kind"


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    assert code(manifest.read, tmp_path) == "no-manifest"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"kind": "a", "meta": {}, "files": {"x": 1}, "version": 1, "hash": ""}',
        '{"kind":"a","meta":{},"files":[],"version":1,"hash":"x"}',
    ],
)
def test_a_damaged_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_text(text)

    assert code(manifest.read, folder) == "bad-manifest"


def test_an_entry_without_a_size_is_refused(folder):
    data = files.read_json(folder / "manifest.json")
    data["files"]["a.txt"]["bytes"] = "3"
    (folder / "manifest.json").write_text(files.canonical(data).decode())

    assert code(manifest.read, folder) == "bad-manifest"


def test_a_future_version_is_refused(folder):
    data = files.read_json(folder / "manifest.json") | {"version": 2}
    (folder / "manifest.json").write_text(files.canonical(data).decode())

    assert code(manifest.read, folder) == "bad-manifest"


@settings(max_examples=60)
@given(st.data())
def test_a_manifest_cut_or_flipped_anywhere_is_refused_or_means_the_same(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("m") / "out"
    manifest.commit(folder, KIND, fill, {"step": 3})
    raw = bytearray((folder / "manifest.json").read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    (folder / "manifest.json").write_bytes(raw)

    try:
        found = manifest.verify(folder, KIND)
    except CheckpointError:
        return
    assert sorted(found.files) == ["a.txt", "sub/b.bin"]


def test_newest_walks_back_over_damaged_folders_and_names_them(tmp_path):
    for step in (1, 2, 3):
        manifest.commit(tmp_path / f"step-{step}", KIND, fill)
    (tmp_path / "step-3" / "a.txt").write_text("torn")
    passed = []

    found = manifest.newest(
        tmp_path, "step-", KIND, lambda path, error: passed.append((path.name, error.code))
    )

    assert found == tmp_path / "step-2"
    assert passed == [("step-3", "changed-file")]


def test_newest_of_nothing_is_none(tmp_path):
    assert manifest.newest(tmp_path / "none", "step-", KIND, print) is None
    assert manifest.newest(tmp_path, "step-", KIND, print) is None
