"""A saved state as an adapter: the same numbers under the adapter's names, or no model at all."""

import json
import struct

import pytest

from stead.app import checkpoint_models as models
from stead.app.choosing import Wanted
from stead.app.shelf import Shelved
from stead.core.errors import ModelError, NotFound
from stead.hub import safetensors_header

NAMES = {"a.lora_A": "base_model.model.a.lora_A.weight", "a.lora_B": "base_model.model.a.lora_B.weight"}  # fmt: skip


def tensors(path, values):
    head, data = {}, b""
    for name, numbers in values.items():
        more = struct.pack(f"<{len(numbers)}f", *numbers)
        head[name] = {"dtype": "F32", "shape": [len(numbers)], "data_offsets": [len(data), len(data) + len(more)]}  # fmt: skip
        data += more
    text = json.dumps(head).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def run(tmp_path):
    state = tmp_path / "run" / "checkpoints" / "step-00000002" / "model.safetensors"
    tensors(state, {"a.lora_A": [1.0, 2.0], "a.lora_B": [3.0]})
    tensors(tmp_path / "run/final/adapter_model.safetensors", {NAMES["a.lora_B"]: [9.0], NAMES["a.lora_A"]: [9.0, 9.0]})  # fmt: skip
    (tmp_path / "run/final/adapter_config.json").write_text('{"peft_type": "LORA"}')
    return tmp_path / "run"


def test_the_numbers_of_a_state_stand_under_the_adapters_names(run):
    folder = models.model_of(run, 2)

    path = folder / "adapter_model.safetensors"
    found = safetensors_header.read(path).tensors
    data = path.read_bytes()
    values = {n: struct.unpack(f"<{t.elements}f", data[t.begin : t.end]) for n, t in found.items()}
    assert values == {NAMES["a.lora_A"]: (1.0, 2.0), NAMES["a.lora_B"]: (3.0,)}
    assert (folder / "adapter_config.json").read_text() == '{"peft_type": "LORA"}'
    assert models.model_of(run, 2) == folder


def test_a_state_that_is_no_adapter_is_not_offered(run):
    tensors(run / "checkpoints/step-00000003/model.safetensors", {"a.lora_A": [1.0, 2.0]})
    tensors(run / "checkpoints/step-00000004/model.safetensors", {"a.lora_A": [1.0], "a.lora_B": [3.0]})  # fmt: skip

    assert [models.is_askable(run, step) for step in (2, 3, 4, 5)] == [True, False, False, False]
    for step in (3, 5):
        with pytest.raises(ModelError, match=f"no model of step {step}"):
            models.model_of(run, step)
    assert not (run / "answering").exists()


def test_the_shelf_knows_a_runs_steps_by_name(run):
    shelf = Shelved(more=lambda: {"ft:x": Wanted(str(run), name="ft:x")})

    assert shelf.wanted("ft:x:ckpt-step-2").model == str(run / "answering" / "step-00000002")
    assert "ft:x:ckpt-step-2" not in shelf.names()
    for name in ("ft:x:ckpt-step-3", "ft:x:ckpt-step-02", "ft:x:ckpt-step-", "ft:y:ckpt-step-2"):
        with pytest.raises(NotFound):
            shelf.wanted(name)
