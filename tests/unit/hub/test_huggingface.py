import json
import os
import time

import pytest
from tests.fakes.hub_server import serving
from tests.fakes.models import CONFIG, safetensors_bytes

from stead.core.errors import (
    BackendError,
    ModelError,
    NotFound,
    RateLimited,
    ResourceError,
    UnsafeError,
)
from stead.core.events import Progress, ignore
from stead.core.paths import Home
from stead.hub import fetch, library, refs
from stead.hub.inspect import inspect, locate
from stead.hub.source import Listing, RemoteFile
from stead.hub.sources.huggingface import HuggingFace

WEIGHTS = safetensors_bytes(
    {"model.embed_tokens.weight": ("F32", (300, 800)), "model.norm.weight": ("F32", (8,))}
)
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b'{"version": "1.0"}',
    "README.md": b"# a model",
    "pytorch_model.bin": b"\x80\x04planted",
    "training_args.bin": b"\x80\x04planted",
    "original/consolidated.safetensors": WEIGHTS,
    "modeling_evil.py": b"raise SystemExit",
}
TAKEN = ["README.md", "config.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture
def hub():
    with serving() as found:
        found.commit = found.add("org/tiny", FILES)
        yield found


@pytest.fixture
def env(hub, tmp_path):
    return {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache")}


def acquire(env, home, ref="hf:org/tiny", emit=ignore, **options):
    return fetch.acquire(refs.parse(ref), HuggingFace(env, **options), home, emit=emit)


@pytest.mark.spec("001-003", "001-023")
def test_a_model_comes_into_the_librarys_cache_and_is_linked_not_copied(hub, env, home, tmp_path):
    told = []

    entry = acquire(env, home, emit=told.append)

    assert sorted(entry.files) == TAKEN
    assert entry.revision == hub.commit
    assert entry.folder == home.refs / "huggingface" / f"org--tiny@{hub.commit[:12]}"
    assert all((entry.folder / n).is_symlink() for n in TAKEN)
    assert (entry.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (entry.folder / "model.safetensors").resolve().is_relative_to(tmp_path / "cache")
    copies = [
        p
        for p in tmp_path.rglob("*")
        if p.is_file() and not p.is_symlink() and p.stat().st_size == len(WEIGHTS)
    ]
    assert len(copies) == 1
    assert max(e.done for e in told if isinstance(e, Progress)) == sum(len(FILES[n]) for n in TAKEN)
    assert fetch.problems(entry) == []


def test_pickles_code_and_other_folders_are_never_asked_for(hub, env, home):
    acquire(env, home)

    asked = {path.rsplit("/", 1)[-1] for verb, path, _ in hub.requests if "/resolve/" in path}

    assert asked == set(TAKEN)


def test_the_model_is_found_by_name_and_ref_and_read_from_its_headers(hub, env, home):
    entry = acquire(env, home)

    assert locate("org/tiny", home=home) == entry.folder
    assert locate("hf:org/tiny", home=home) == entry.folder
    assert locate(f"org/tiny@{hub.commit[:8]}", home=home) == entry.folder
    assert inspect("org/tiny", home=home).hidden_size == 8


def test_what_is_here_is_not_fetched_again(hub, env, home):
    acquire(env, home)
    hub.requests.clear()

    again = acquire(env, home)

    assert not any("/resolve/" in path for _, path, _ in hub.requests)
    assert again.revision == hub.commit
    assert len(library.entries(home)) == 1


def test_a_connection_cut_midway_goes_on_where_it_stopped(hub, env, home):
    large = safetensors_bytes(
        {"model.embed_tokens.weight": ("F32", (300, 10_000))}
    )  # the client reads 10 MiB at a time
    hub.add("org/tiny", FILES | {"model.safetensors": large})
    hub.faults = {"/model.safetensors": ["cut:11000000"]}

    entry = acquire(env, home)

    ranges = [
        h["Range"]
        for v, p, h in hub.requests
        if v == "GET" and p.endswith("/model.safetensors") and "Range" in h
    ]
    assert len(ranges) == 1
    assert ranges[0].startswith("bytes=")
    assert not ranges[0].startswith("bytes=0-")
    assert fetch.problems(entry) == []


@pytest.mark.spec("001-023")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_flipped_bit_in_transit_is_caught_with_both_hashes_and_not_kept(hub, env, home, name):
    hub.faults = {f"/{name}": ["flip"]}

    with pytest.raises(ModelError) as caught:
        acquire(env, home)

    assert caught.value.code == "hash-mismatch"
    assert repr(name) in caught.value.message
    assert library.entries(home) == []
    assert acquire(env, home).revision == hub.commit  # the wrong file is gone from the cache


@pytest.mark.parametrize(
    ("name", "lie"), [("model.safetensors", "0" * 64), ("config.json", "0" * 40)]
)
def test_a_file_that_is_not_the_listed_one_is_caught(hub, env, home, name, lie):
    hub.lies = {name: lie}

    with pytest.raises(ModelError) as caught:
        acquire(env, home)

    assert caught.value.code == "hash-mismatch"
    assert lie in caught.value.message


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [("401", BackendError, "hub-denied"), ("403", BackendError, "hub-denied"), ("404", NotFound, "no-repository"), ("429", RateLimited, "hub-busy"), ("500", BackendError, "hub-failed")],
)  # fmt: skip
def test_an_answer_that_is_an_error_is_typed(hub, env, home, status, kind, code):
    hub.faults = {"/revision/main": [status] * 9}

    with pytest.raises(kind) as caught:
        acquire(env, home)

    assert caught.value.code == code
    assert "org/tiny" in caught.value.message or code == "hub-busy"
    assert library.entries(home) == []


def test_an_unknown_repository_or_revision_is_not_found(env, home):
    for ref in ("hf:org/none", "hf:org/tiny@v9"):
        with pytest.raises(NotFound) as caught:
            acquire(env, home, ref)
        assert caught.value.code == "no-repository"


def test_a_hub_that_is_not_there_is_a_typed_error(env, home):
    with pytest.raises(BackendError) as caught:
        acquire(env | {"HF_ENDPOINT": "http://127.0.0.1:9"}, home)

    assert caught.value.code == "hub-unreachable"


@pytest.mark.parametrize("how", ["option", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_names_the_missing_file_at_once_and_asks_nobody(hub, env, home, how):
    import huggingface_hub  # noqa: F401 - its import is not what is timed

    env = env if how == "option" else env | {how: "1"}
    start = time.monotonic()

    with pytest.raises(NotFound) as caught:
        acquire(env, home, offline=how == "option")

    assert time.monotonic() - start < 1.0
    assert caught.value.code == "offline-missing"
    assert "'config.json'" in caught.value.message
    assert hub.requests == []


def test_offline_finds_what_is_in_the_cache(hub, env, home, tmp_path):
    acquire(env, home)
    hub.requests.clear()

    entry = acquire(env, Home(tmp_path / "other"), offline=True)

    assert sorted(entry.files) == TAKEN
    assert hub.requests == []


def test_offline_names_a_shard_that_is_missing(hub, env, home, tmp_path):
    index = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    part = safetensors_bytes({"a": ("F32", (2,))})
    files = {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        "m-1.safetensors": part,
    }
    hub.add("org/sharded", files)
    acquire(env, home, "org/sharded")

    with pytest.raises(NotFound) as caught:
        acquire(env, home, "org/sharded", offline=True)

    assert "'m-2.safetensors'" in caught.value.message


def test_offline_refuses_a_search(env):
    with pytest.raises(NotFound):
        HuggingFace(env, offline=True).search("tiny")


@pytest.mark.spec("002-047", "002-061")
def test_the_token_is_taken_from_the_three_names_in_order(hub, env, home):
    hub.token = "first"

    acquire(
        env | {"HF_TOKEN": "first", "HUGGINGFACE_TOKEN": "x", "HUGGING_FACE_HUB_TOKEN": "y"}, home
    )
    hub.token = "second"
    HuggingFace(env | {"HUGGINGFACE_TOKEN": "second", "HUGGING_FACE_HUB_TOKEN": "y"}).search("tiny")
    hub.token = "third"
    HuggingFace(env | {"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "third"}).search("tiny")

    with pytest.raises(BackendError):
        HuggingFace(env | {"HF_TOKEN": "wrong"}).search("tiny")


def test_a_search_lists_models(env):
    found = HuggingFace(env).search("tiny", limit=5)

    assert [(f.name, f.downloads, f.likes) for f in found] == [("org/tiny", 7, 2)]


def test_a_repository_of_pickles_is_refused_before_a_byte_is_fetched(hub, env, home):
    hub.add("org/old", {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"})

    with pytest.raises(UnsafeError) as caught:
        acquire(env, home, "org/old")

    assert caught.value.code == "pickle-refused"
    assert not any("/resolve/" in path for _, path, _ in hub.requests)


def test_gguf_files_are_fetched_when_asked_for(hub, env, home):
    hub.add("org/quant", {"m-Q4.gguf": b"GGUF", "m-Q8.gguf": b"GGUF8"})

    with pytest.raises(NotFound) as caught:
        acquire(env, home, "org/quant")
    entry = acquire(env, home, "org/quant", patterns=("*Q4.gguf",))

    assert caught.value.code == "no-weights"
    assert caught.value.hint == "stead model add hf:org/quant --file 'm-Q4.gguf'"
    assert sorted(entry.files) == ["m-Q4.gguf"]


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a\\b.json"])
def test_a_name_that_leads_out_of_the_folder_is_refused(hub, env, home, name):
    hub.add("org/evil", {"model.safetensors": WEIGHTS, name: b"{}"})

    with pytest.raises(UnsafeError):
        acquire(env, home, "org/evil")

    assert library.entries(home) == []


@pytest.mark.spec("001-007", "001-023")
def test_a_model_that_does_not_fit_is_refused_before_a_byte_is_fetched(hub, env, home):
    source = HuggingFace(env)
    listing = Listing(hub.commit, (RemoteFile("model.safetensors", 1 << 60),))

    with pytest.raises(ResourceError) as caught:
        source.fetch(refs.parse("hf:org/tiny"), listing, home, ignore)

    assert caught.value.code == "disk-full"
    assert caught.value.details["needed"] == 1 << 60
    assert not any("/resolve/" in path for _, path, _ in hub.requests)


def test_one_file_is_opened_and_a_large_one_refused(env):
    source = HuggingFace(env)
    ref = refs.parse("hf:org/tiny@main")

    assert source.open(ref, "README.md") == b"# a model"
    with pytest.raises(ResourceError):
        source.open(ref, "model.safetensors", limit_bytes=100)
    with pytest.raises(NotFound):
        source.open(ref, "none.txt")


@pytest.mark.spec("001-005")
def test_two_revisions_stand_side_by_side_and_the_newest_is_meant(hub, env, home):
    old = acquire(env, home)
    changed = FILES | {"config.json": json.dumps(CONFIG | {"rms_norm_eps": 1e-6}).encode()}
    hub.add("org/tiny", changed, "v2")
    time.sleep(0.01)  # manifests are told apart by their time

    new = acquire(env, home, "hf:org/tiny@v2")

    assert len(library.entries(home)) == 2
    assert locate("org/tiny", home=home) == new.folder
    assert locate(f"org/tiny@{old.revision[:10]}", home=home) == old.folder
    assert locate("org/tiny@v2", home=home) == new.folder


def test_forgetting_frees_the_cache(hub, env, home, tmp_path):
    entry = acquire(env, home)

    freed = HuggingFace(env).forget("org/tiny", entry.revision)

    assert freed >= len(WEIGHTS)
    assert not [
        p
        for p in (tmp_path / "cache").rglob("*")
        if p.is_file() and p.stat().st_size >= len(WEIGHTS)
    ]
    assert HuggingFace(env).forget("org/tiny", entry.revision) == 0
    assert os.environ.get("HF_ENDPOINT") is None
