"""`stead upload` and `stead.upload` against a hub on loopback: what arrives loads as what was trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.fakes.hub_server import serving
from tests.fakes.models import adapter_folder

import stead as package


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # loopback has none
    with serving() as found:
        for name, value in {"HF_ENDPOINT": found.url, "HF_HUB_CACHE": str(tmp_path / "cache"),
                            "STEAD_HOME": str(tmp_path / "home")}.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory) -> Path:
    folder = adapter_folder(
        tmp_path_factory.mktemp("run") / "tuned", base=tiny_model, r=2, target_modules=["q_proj"]
    )
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    draw = np.random.default_rng(3).standard_normal
    save_file(
        {key.format("A"): draw((2, 64), np.float32), key.format("B"): draw((64, 2), np.float32)},
        folder / "adapter_model.safetensors",
    )
    return folder


@pytest.mark.spec("003-015", "003-063", "000-022", "000-035")
def test_an_adapter_is_published_and_its_weights_come_back(hub, adapter, stead, tmp_path):
    status, out, error = stead("upload", adapter, "me/tuned", "--token", "hf_x", "--private",
                               "--base-model", "org/base", "--message", "v1", "--json")  # fmt: skip
    made = json.loads(out.splitlines()[-1])
    there = hub.repositories["me/tuned"]["main"]

    assert status == 0, error
    assert (made["private"], hub.private["me/tuned"], hub.messages) == (True, True, ["v1"])
    assert (
        there["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    )
    assert json.loads(there["adapter_config.json"])["base_model_name_or_path"] == "org/base"
    assert "base_model: org/base" in there["README.md"].decode()
    assert str(tmp_path).encode() not in b"".join(there.values())  # no place of this machine leaves
    assert str(adapter.parent).encode() not in b"".join(there.values())


def test_merged_it_is_a_model_that_can_be_added_again(hub, adapter, tiny_model, stead):
    sent = package.upload(adapter, "me/whole", token="hf_x", merge=True)
    status, out, error = stead("model", "add", "hf:me/whole", "--json")
    assert status == 0, error
    assert "model.safetensors" in sent["files"]
    assert json.loads(out.splitlines()[-1])["name"] == "me/whole"


def test_a_dry_run_tells_and_sends_nothing(hub, adapter, stead):
    status, out, _ = stead("upload", adapter, "me/tuned", "--dry-run")
    assert (status, hub.repositories, hub.requests) == (0, {}, [])
    assert "would send" in out
    assert "adapter_model.safetensors" in out


def test_without_a_token_it_says_how(hub, adapter, stead, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    status, _, error = stead("upload", adapter, "me/tuned")
    assert status == 2
    assert "HF_TOKEN" in error
    assert hub.repositories == {}


def test_as_a_job_it_uses_the_tokens_of_the_machine_alone(hub, adapter, tmp_path):
    hub.token = "hf_machine"
    place = tmp_path / "job"
    place.mkdir()
    spec = {"model": str(adapter), "repository": "me/job", "private": True}
    (place / "job.json").write_text(json.dumps({"verb": "upload", "spec": spec}))
    online = {"HF_TOKEN": "hf_machine", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "stead.worker.light", str(place / "job.json")],
        env=dict(os.environ) | online, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + (place / "events.jsonl").read_text()
    assert hub.private["me/job"] is True
    assert b"hf_machine" not in b"".join(p.read_bytes() for p in place.iterdir())
