import json

import huggingface_hub.constants
import pytest
from tests.fakes.hub_server import serving
from tests.fakes.models import CONFIG, safetensors_bytes

from stead.core.errors import BackendError, ConfigError, NotFound, UnsafeError
from stead.hub import publish

WEIGHTS = safetensors_bytes({"model.norm.weight": ("F32", (8,))})


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # loopback has none
    with serving() as found:
        found.token = "hf_write"
        yield found


@pytest.fixture
def env(hub):
    return {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_write"}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    (place / "model.safetensors").write_bytes(WEIGHTS)
    facts = publish.Facts("org/base", "peft", "apache-2.0", ("stead",))
    (place / "README.md").write_text(publish.describe("# mine\n", facts))
    (place / ".cache").write_text("hidden")
    return place


@pytest.mark.spec("003-063")
def test_a_folder_arrives_byte_for_byte_as_one_commit(hub, env, folder):
    made = publish.publish(folder, "me/mine", environment=env, private=True, message="first")
    assert hub.repositories["me/mine"]["main"] == {
        p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")
    }
    assert hub.private == {"me/mine": True}
    assert hub.messages == ["first"]
    assert made.url == f"{hub.url}/me/mine"
    assert made.bytes == sum(len(d) for d in hub.repositories["me/mine"]["main"].values())
    card = hub.repositories["me/mine"]["main"]["README.md"].decode()
    assert "base_model: org/base" in card
    assert "library_name: peft" in card


def test_a_second_upload_adds_to_the_first(hub, env, folder):
    hub.repositories["me/mine"] = {"main": {"notes.txt": b"by hand"}}
    publish.publish(folder, "me/mine", environment=env)
    assert hub.repositories["me/mine"]["main"]["notes.txt"] == b"by hand"


def test_a_hub_that_has_other_bytes_than_were_sent_is_found_out(hub, env, folder):
    hub.lies["model.safetensors"] = "0" * 64
    with pytest.raises(BackendError, match=r"model\.safetensors") as caught:
        publish.publish(folder, "me/mine", environment=env)
    assert caught.value.code == "upload-differs"


def test_what_cannot_be_published_is_refused_before_anything_is_sent(hub, env, folder, tmp_path):
    with pytest.raises(ConfigError, match="token"):
        publish.publish(folder, "me/mine", environment={"HF_ENDPOINT": hub.url})
    with pytest.raises(NotFound, match="offline"):
        publish.publish(folder, "me/mine", environment=env | {"HF_HUB_OFFLINE": "1"})
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UnsafeError):
        publish.publish(folder, "me/mine", environment=env)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="no weights"):
        publish.publish(empty, "me/mine", environment=env)
    assert hub.requests == []


def test_a_token_that_may_not_write_is_told_so(env, folder):
    with pytest.raises(BackendError) as caught:
        publish.publish(folder, "me/mine", environment=env, token="hf_read")
    assert caught.value.code == "hub-denied"
    assert "stead upload" in caught.value.hint


@pytest.mark.parametrize("name", ["mine", "a/b/c", "me/../x", "me/mine@v1", "", "http://x/y"])
def test_a_repository_is_owner_and_name(name):
    with pytest.raises(ConfigError, match="owner/name"):
        publish.repository_of(name)
