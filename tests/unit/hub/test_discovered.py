"""The memory of what was discovered: true to the disk, quick, and never a trap."""

import json
import os
import time

import pytest
from tests.fakes.models import adapter_folder, model_folder

from stead.hub import discover, discovered


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "models"
    model_folder(folder / "llama")
    adapter_folder(folder / "adapters" / "tickets")
    (folder / "q.gguf").write_bytes(b"GGUF")
    (folder / "g.sbs").write_bytes(b"SBS\n")
    (folder / "loop").symlink_to(folder)
    return folder


@pytest.fixture
def look(place, tmp_path, monkeypatch):
    """Return `look()`: the names found, and how often the disk was searched for it."""
    searched = []
    real = discover.discover
    monkeypatch.setattr(discovered.discover, "discover", lambda p: (searched.append(1), real(p))[1])

    def run(**more):
        searched.clear()
        found = discovered.find([("folder", place)], tmp_path / "cache", **more)
        return sorted(m.name for m in found), len(searched)

    return run


NAMES = ["g", "llama", "q", "tickets"]


@pytest.mark.spec("004-002", "000-089", "004-019")
def test_the_second_look_believes_the_first_until_something_changes(look, place):
    assert look() == (NAMES, 1)
    assert look() == (NAMES, 0)
    assert look(refresh=True) == (NAMES, 1)
    (place / "adapters" / "new.gguf").write_bytes(b"GGUF")
    assert look() == (sorted([*NAMES, "new"]), 1)
    (place / "adapters" / "new.gguf").unlink()
    assert look() == (NAMES, 1)


def test_a_weight_file_written_anew_is_seen(look, place, tmp_path):
    look()
    (place / "q.gguf").write_bytes(b"GGUF" * 10)

    assert look() == (NAMES, 1)
    kept = json.loads((tmp_path / "cache" / "discovered.json").read_text())
    assert {m["size_bytes"] for m in kept["models"] if m["name"] == "q"} == {40}


@pytest.mark.spec("001-058")
@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"version": 1}', '{"version": 9, "places": []}', ""]
)
def test_a_damaged_memory_is_made_anew(look, tmp_path, damage):
    look()
    (tmp_path / "cache" / "discovered.json").write_text(damage)

    assert look() == (NAMES, 1)
    assert look() == (NAMES, 0)


def test_other_places_are_other_questions(look, place, tmp_path):
    look()

    found = discovered.find([("folder", place / "adapters")], tmp_path / "cache")

    assert [m.name for m in found] == ["tickets"]


def test_a_place_that_comes_to_be_is_seen(tmp_path):
    places = [("folder", tmp_path / "later")]
    assert discovered.find(places, tmp_path / "cache") == []
    model_folder(tmp_path / "later" / "llama")

    assert [m.name for m in discovered.find(places, tmp_path / "cache")] == ["llama"]


def test_ten_thousand_files_are_looked_through_quickly_and_known_at_once(tmp_path):
    root = tmp_path / "many"
    for i in range(100):
        folder = root / f"d{i}"
        folder.mkdir(parents=True)
        for j in range(100):
            os.close(os.open(folder / f"f{j}.txt", os.O_CREAT))
        os.symlink(root, folder / "back")
    (root / "d7" / "x.gguf").write_bytes(b"GGUF")
    begun = time.process_time()
    first = discovered.find([("folder", root)], tmp_path / "cache")
    looked = time.process_time() - begun
    again = discovered.find([("folder", root)], tmp_path / "cache")

    assert [m.name for m in first] == ["x"] == [m.name for m in again]
    assert (
        looked < 2.0
    )  # 0.1 s of processor time seen; a scan that opens files takes ten times as long
