import os
import shutil
import threading

import pytest
from tests.fakes import file_server, hub_server
from tests.fakes.models import adapter_folder, gguf_file, model_folder

from stead.app import models as use_cases
from stead.app.models import Models, Pretraining
from stead.core.errors import ConfigError, ModelError, NotFound, SteadError, UnsafeError, UsageError
from stead.core.events import Saved
from stead.hub import lease, library
from stead.hub.source import Fetched, Found, Listing, RemoteFile, Source


@pytest.fixture
def models(home, tmp_path):
    return Models(home, environment={"HF_HUB_CACHE": str(tmp_path / "cache")})


def code(kind, call, *arguments, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return caught.value.code


def files_below(folder):
    return [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]


@pytest.mark.spec("002-010")
def test_a_folder_is_added_by_link_shown_listed_verified_and_removed(models, tmp_path):
    folder = model_folder(tmp_path / "m")
    told = []

    entry, info = models.add(str(folder), emit=told.append)

    assert (entry.name, entry.path, entry.owned) == ("m", folder, "link")
    assert isinstance(told[-1], Saved)
    assert models.show("m") == info
    assert [e.name for e in models.entries()] == ["m"]
    assert models.verify() == {"ok": True, "models": 1, "files": 4, "problems": []}
    assert not [p for p in files_below(models.home.root) if p.suffix == ".safetensors"]
    done = models.remove("m")
    assert done.kept == str(folder)
    assert (folder / "model.safetensors").exists()
    assert models.entries() == []
    assert code(NotFound, models.show, "m") == "unknown-model"


@pytest.mark.spec("004-019")
def test_the_library_survives_a_restart_and_a_damaged_entry(models, tmp_path, home):
    models.add(str(model_folder(tmp_path / "a")))
    entry, _ = models.add(str(model_folder(tmp_path / "b")))
    (entry.folder / "manifest.json").write_text("{")

    assert [e.name for e in Models(home).entries()] == ["a"]


@pytest.mark.spec("001-056")
@pytest.mark.parametrize("change", ["flip", "cut", "delete"])
def test_verify_names_the_file_and_both_hashes(models, tmp_path, change):
    folder = model_folder(tmp_path / "m")
    models.add(str(folder))
    path = folder / "model.safetensors"
    data = path.read_bytes()
    if change == "delete":
        path.unlink()
    else:
        path.write_bytes(data[:-1] + (b"\1" if change == "flip" else b""))

    report = models.verify(["m"])

    (wrong,) = report["problems"]
    assert not report["ok"]
    assert wrong["file"] == "model.safetensors"
    if change != "delete":
        assert len(wrong["expected"]) == len(wrong["found"]) == 64
        assert wrong["expected"] != wrong["found"]


def test_a_flip_that_keeps_size_and_time_is_found_too(models, tmp_path):
    folder = model_folder(tmp_path / "m")
    models.add(str(folder))
    path = folder / "tokenizer.json"
    status = path.stat()
    path.write_text('{"version": "9.0"}')
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert not models.verify()["ok"]


def test_a_copy_lies_once_in_the_content_store_and_is_freed(models, tmp_path, home):
    folder = model_folder(tmp_path / "m")
    entry, _ = models.add(str(folder), copy=True)
    models.add(str(shutil.copytree(folder, tmp_path / "same")), copy=True, name="same")
    shutil.rmtree(folder)

    assert len(files_below(home.blobs)) == 4
    assert models.show("m").hidden_size == 8
    assert all(p.stat().st_mode & 0o222 == 0 for p in files_below(home.blobs))
    assert models.verify()["ok"]
    assert models.remove("m").freed_bytes == 0
    assert models.remove("same").freed_bytes == entry.size_bytes
    assert files_below(home.blobs) == []


def test_a_gguf_file_and_an_adapter_are_models(models, tmp_path):
    model_folder(tmp_path / "base")
    models.add(str(gguf_file(tmp_path / "q.gguf")))
    models.add(str(adapter_folder(tmp_path / "tickets")))

    assert models.show("q.gguf").kind == "gguf"
    assert models.show("tickets").kind == "adapter"


def test_a_run_folder_means_its_final_model(models, tmp_path):
    model_folder(tmp_path / "run" / "final")

    entry, _ = models.add(str(tmp_path / "run"), name="run-7")

    assert entry.path == tmp_path / "run" / "final"
    assert models.show("run-7").hidden_size == 8


def test_what_is_no_model_does_not_stay(models, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    (tmp_path / "evil.bin").write_bytes(b"\x80\x04.")

    assert code(ModelError, models.add, str(tmp_path / "empty")) == "not-a-model"
    assert code(ModelError, models.add, str(tmp_path / "bad.gguf")) == "truncated"
    assert code(UnsafeError, models.add, str(tmp_path / "evil.bin")) == "pickle-refused"
    assert code(NotFound, models.add, str(tmp_path / "none")) == "unknown-model"
    assert models.entries() == []


def test_a_name_belongs_to_one_model(models, tmp_path):
    models.add(str(model_folder(tmp_path / "a" / "m")))

    with pytest.raises(ConfigError) as caught:
        models.add(str(model_folder(tmp_path / "b" / "m")))

    assert caught.value.code == "name-taken"
    assert "--name" in caught.value.hint
    models.add(str(tmp_path / "b" / "m"), name="other")
    assert sorted(e.name for e in models.entries()) == ["m", "other"]


@pytest.mark.spec("001-004")
def test_a_model_in_use_is_not_removed(models, tmp_path, home):
    entry, _ = models.add(str(model_folder(tmp_path / "m")), copy=True)

    with lease.hold(entry.path, "serve", home):
        with pytest.raises(ModelError) as caught:
            models.remove("m")
        assert caught.value.code == "model-in-use"
        assert f"serve (pid {os.getpid()})" in caught.value.message
        assert models.show("m").hidden_size == 8

    assert models.remove("m").freed_bytes == entry.size_bytes


def test_a_lease_of_a_dead_process_does_not_count(tmp_path, home):
    folder = model_folder(tmp_path / "m")
    with lease.hold(folder, "train", home):
        (note,) = (home.state / "leases").rglob("*.json")
        text = note.read_text()
        note.write_text(text.replace(str(os.getpid()), "999999999"))
        assert lease.holders(folder, home) == []
        assert not note.exists()
        note.write_text(text.replace('"started": 1', '"started": 2'))
        assert lease.holders(folder, home) == []
        note.write_text("{")
        assert lease.holders(folder, home) == []


def test_a_lease_on_nothing_is_refused(tmp_path, home):
    with pytest.raises(NotFound), lease.hold(tmp_path / "none", "x", home):
        pass

    assert lease.holders(tmp_path / "none", home) == []


def test_only_added_models_are_removed(models, tmp_path):
    folder = model_folder(tmp_path / "m")

    assert code(NotFound, models.remove, str(folder)) == "not-added"
    models.add(str(folder))
    assert models.remove(str(folder)).name == "m"


def test_leftovers_of_a_killed_call_are_collected(models, tmp_path, home):
    models.add(str(model_folder(tmp_path / "m")), copy=True)
    left = home.refs / "local" / ".partial-0123"
    left.mkdir()
    stray = home.blobs / "ab" / ("ab" * 32)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"x" * 10)

    with library.locked(home):
        assert library.collect(home) == 10

    assert not left.exists()
    assert models.verify()["ok"]


def test_many_at_once_give_one_entry_and_one_copy(models, tmp_path, home):
    folder = model_folder(tmp_path / "m")
    faults = []

    def add():
        try:
            models.add(str(folder), copy=True)
        except SteadError as error:
            faults.append(error)

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert len(models.entries()) == 1
    assert len(files_below(home.blobs)) == 4
    assert models.verify()["ok"]


def test_a_hub_model_is_added_refreshed_and_freed(models, tmp_path, home):
    folder = model_folder(tmp_path / "m")
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    with hub_server.serving() as hub:
        hub.add("org/tiny", files)
        models = Models(
            home, environment={"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache")}
        )
        models.add("hf:org/tiny")
        hub.add("org/tiny", files | {"config.json": files["config.json"] + b" "})

        (newer,) = models.refresh()

        assert len(models.entries()) == 2
        assert newer.revision[:8] in str(newer.folder)
        assert [f.name for f in models.search("tiny")] == ["org/tiny"]
        models.remove("org/tiny")
        models.remove("org/tiny")
    assert files_below(tmp_path / "cache" / "models--org--tiny") == []


def test_a_hub_model_that_is_broken_does_not_stay(tmp_path, home):
    with hub_server.serving() as hub:
        hub.add("org/bad", {"config.json": b"{", "model.safetensors": b"short"})
        models = Models(
            home, environment={"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache")}
        )

        assert code(ModelError, models.add, "hf:org/bad") == "bad-json"

    assert models.entries() == []
    assert not (tmp_path / "cache" / "models--org--bad").exists()


def test_a_gguf_file_comes_by_url_into_the_content_store(models, tmp_path, home):
    data = gguf_file(tmp_path / "q.gguf").read_bytes()
    with file_server.serving(data) as server:
        server.faults = ["cut:1000"]

        entry, info = models.add(server.url, name="q8")

        assert info.kind == "gguf"
        assert models.show("q8").dtype == "q8_0"
        assert [p.read_bytes() for p in files_below(home.blobs)] == [data]
        assert code(UsageError, models.add, server.url.replace(".gguf", ".bin")) == "not-gguf"
        assert code(UsageError, models.add, server.url + "#sha256=1") == "bad-ref"
        assert code(ModelError, models.add, server.url + "#sha256=" + "0" * 64) == "hash-mismatch"
        assert code(NotFound, Models(home, offline=True).add, server.url) == "offline"
        assert code(UsageError, models.source("url").open, entry.ref, "x") == "not-listed"
        assert models.source("url").search("x") == []
        assert models.source("url").forget("x", "y") == 0
    assert models.remove("q8").freed_bytes == len(data)


@pytest.mark.spec("000-046", "003-003")
def test_a_source_is_passed_in_without_patching(home, tmp_path):
    folder = model_folder(tmp_path / "m")

    class Shelf(Source):
        def search(self, query, *, limit=20):
            return [Found(query)]

        def listing(self, ref):
            return Listing(
                "r1", tuple(RemoteFile(p.name, p.stat().st_size) for p in folder.iterdir())
            )

        def open(self, ref, name, *, limit_bytes=1):
            return b""

        def fetch(self, ref, listing, home, emit):
            return Fetched(
                {f.name: folder / f.name for f in listing.files}, "link", new=False, folder=folder
            )

    models = Models(home, make_source=lambda _: Shelf())

    assert models.search("x") == [Found("x")]
    assert models.add("hf:org/name")[0].revision == "r1"


def test_an_empty_listing_is_refused(home, models, tmp_path):
    class Nothing(type(models.source("local"))):
        def listing(self, ref):
            return Listing("r", ())

    folder = model_folder(tmp_path / "m")

    assert (
        code(ModelError, Models(home, make_source=lambda _: Nothing(home)).add, str(folder))
        == "empty"
    )


def test_one_file_of_a_local_folder_is_opened(models, tmp_path):
    from stead.hub.refs import Ref

    folder = model_folder(tmp_path / "m")
    source = models.source("local")

    assert source.open(Ref("local", str(folder)), "tokenizer.json") == b'{"version": "1.0"}'
    assert code(UnsafeError, source.open, Ref("local", str(folder)), "../x") == "outside"
    assert (
        code(SteadError, source.open, Ref("local", str(folder)), "config.json", limit_bytes=3)
        == "too-large"
    )
    assert code(NotFound, source.listing, Ref("local", str(tmp_path / "none"))) == "no-file"


def test_discover_looks_where_it_is_told(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_folder(tmp_path / "data" / "models" / "here")

    assert [f.name for f in models.discover([])] == ["here"]


class Launched:
    """The worker's part: makes the folders that the verbs make, and remembers what was asked."""

    def __init__(self, fail=False):
        self.calls = []
        self.fail = fail

    def __call__(self, verb, spec, folder, emit):
        self.calls.append((verb, spec))
        if verb == "new":
            from pathlib import Path

            model_folder(Path(spec["out"]))
            return {"out": spec["out"], "hash": "h", "parameters": 5}
        if self.fail:
            raise ModelError("worker-died", "gone")
        trained = model_folder(folder / "final")
        (trained / "trained.json").write_text("{}")
        (trained / "manifest.json").write_text("{}")
        return {"steps": 3}


def test_a_new_model_is_made_by_the_worker(tmp_path):
    launched = Launched()

    facts = use_cases.new(tmp_path / "m", {"text": ["a.txt"], "preset": "nano"}, launch=launched)

    assert facts["out"] == str(tmp_path / "m")
    assert launched.calls[0][1]["text"] == [os.path.abspath("a.txt")]
    assert os.listdir(tmp_path) == ["m"]


def test_a_new_model_is_pretrained_and_appears_once_whole(tmp_path):
    launched = Launched()
    work = Pretraining(10_000, batch_tokens=4096, seed=3)
    (tmp_path / "m").mkdir()

    facts = use_cases.new(
        tmp_path / "m",
        {"text": ["a.txt"]},
        pretraining=work,
        launch=launched,
        spec_of=lambda config, _: {"config": config, "resume": False},
    )

    verb, spec = launched.calls[1]
    config = spec["config"]
    assert (verb, spec["resume"]) == ("train", False)
    assert config["trainer"] == {"max_steps": 3, "batch_tokens": 4096, "lr": 1e-3, "seed": 3}
    assert config["method"] == {"type": "pretrain"}
    assert config["model"]["path"] == launched.calls[0][1]["out"]
    assert config["data"]["path"] == [os.path.abspath("a.txt")]
    assert (tmp_path / "m" / "trained.json").exists()
    assert facts["pretraining"] == {"steps": 3}
    assert facts["out"] == str(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]


def test_a_failed_pretraining_leaves_nothing(tmp_path):
    launched = Launched(fail=True)

    with pytest.raises(ModelError):
        use_cases.new(
            tmp_path / "m",
            {"text": []},
            pretraining=Pretraining(10),
            launch=launched,
            spec_of=lambda config, _: config,
        )

    assert launched.calls[1][1]["data"]["max_length"] == 10
    assert os.listdir(tmp_path) == []


def test_a_folder_that_holds_something_is_not_touched(tmp_path):
    folder = model_folder(tmp_path / "m")

    assert (
        code(ConfigError, use_cases.new, folder, {"text": []}, launch=Launched()) == "out-not-empty"
    )
    assert (
        code(ConfigError, use_cases.new, folder / "config.json", {"text": []}, launch=Launched())
        == "out-not-empty"
    )
