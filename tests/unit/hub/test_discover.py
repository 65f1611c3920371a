import json
from pathlib import Path

import pytest
from tests.fakes.models import adapter_folder, model_folder

from stead.hub.discover import Local, discover, roots
from stead.hub.hub_cache import cache_folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Five kinds of model in three stores, some reachable twice."""
    monkeypatch.chdir(tmp_path)
    given = tmp_path / "mine"
    model_folder(given / "llama")
    adapter_folder(given / "llama" / "adapters" / "tickets")
    (given / "deep" / "er").mkdir(parents=True)
    (given / "deep" / "er" / "q.gguf").write_bytes(b"GGUF")
    (given / "gemma.sbs").write_bytes(b"sbs")
    (given / "again.gguf").symlink_to(given / "deep" / "er" / "q.gguf")
    (given / "loop").symlink_to(given)
    (given / ".hidden").mkdir()
    (given / ".hidden" / "h.gguf").write_bytes(b"GGUF")
    (given / "notes").mkdir()
    (given / "notes" / "config.json").write_text("{}")
    snapshot = tmp_path / "cache" / "models--org--name" / "snapshots" / "abc"
    model_folder(snapshot)
    ollama = tmp_path / "ollama"
    manifest = ollama / "manifests" / "registry.example" / "library" / "llama3.2" / "3b"
    manifest.parent.mkdir(parents=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:ab"},
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:cd"},
    ]
    manifest.write_text(json.dumps({"layers": layers}))
    (manifest.parent / "torn").write_text("{")
    (ollama / "blobs").mkdir()
    (ollama / "blobs" / "sha256-ab").write_bytes(b"GGUF")
    return roots([given, given / "llama"], {"OLLAMA_MODELS": str(ollama)}, tmp_path / "cache")


@pytest.mark.spec("004-002")
def test_every_kind_is_found_exactly_once_in_every_store(places):
    found = sorted((m.kind, m.name, m.store) for m in discover(places))

    assert found == [
        ("adapter", "tickets", "folder"),
        ("gguf", "again", "folder"),
        ("gguf", "llama3.2:3b", "ollama"),
        ("model", "llama", "folder"),
        ("model", "org/name", "hub-cache"),
        ("sbs", "gemma", "folder"),
    ]


def test_looking_twice_finds_the_same(places):
    assert discover(places) == discover(places)


def test_absent_places_are_no_error(tmp_path):
    assert discover([("folder", tmp_path / "none"), ("ollama", tmp_path / "none")]) == []


def test_the_default_places(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    found = [str(p) for _, p in roots([], {}, tmp_path / "hub")]

    assert found == [
        "data/models",
        "/.models",
        str(tmp_path / "hub"),
        str(tmp_path / ".ollama" / "models"),
    ]


@pytest.mark.parametrize(
    ("gib", "word"), [(0.5, "small"), (1, "medium"), (7.9, "medium"), (8, "large"), (40, "huge")]
)
def test_the_size_class_follows_the_bytes(tmp_path, gib, word):
    assert Local("a", tmp_path, "gguf", int(gib * 2**30), "folder").to_dict()["size_class"] == word


def test_the_hubs_cache_is_where_its_variables_say(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert cache_folder({"HF_HUB_CACHE": "~/c", "HF_HOME": "/h"}) == tmp_path / "c"
    assert cache_folder({"HF_HOME": "/h", "XDG_CACHE_HOME": "/x"}) == Path("/h/hub")
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/huggingface/hub")
    assert cache_folder({}) == tmp_path / ".cache" / "huggingface" / "hub"
