"""A large checkpoint is hashed while it is written: the same bytes as the reference writer's, and it verifies."""

import pytest
import torch
from safetensors.torch import save

from stead.core import manifest
from stead.core.errors import CheckpointError
from stead.core.events import ignore
from stead.models import checkpoint

_TYPES = (torch.float32, torch.bfloat16, torch.int8, torch.uint8, torch.int64, torch.float16, torch.bool)  # fmt: skip


def groups() -> dict[str, dict[str, torch.Tensor]]:
    drawn = torch.Generator().manual_seed(1)
    mixed = {
        f"layer.{i}.é": (torch.rand(5, i + 1, generator=drawn) * 9).to(t)
        for i, t in enumerate(_TYPES)
    }
    large = torch.randn(1100, 2000, generator=drawn)
    return {
        "model": {"b": large.t(), "a": torch.tensor(2.5), "none": torch.zeros(0, 3)},
        "extra": mixed,
    }


def test_a_large_checkpoint_has_the_reference_writers_bytes(tmp_path):
    tensors = groups()

    made = checkpoint.save(tmp_path, 3, checkpoint.State(tensors, {"step": 3}), ignore)

    for name, group in tensors.items():
        expected = save({n: t.contiguous() for n, t in group.items()})
        assert (made.path / f"{name}.safetensors").read_bytes() == expected
    assert manifest.verify(made.path, checkpoint.KIND).hash == made.hash
    found = checkpoint.load(made, ("model",)).tensors["model"]
    assert torch.equal(found["b"], tensors["model"]["b"])


@pytest.mark.parametrize("name", ["model.safetensors", "extra.safetensors"])
def test_what_the_disk_keeps_otherwise_does_not_verify(tmp_path, name):
    made = checkpoint.save(tmp_path, 3, checkpoint.State(groups(), {}), ignore)
    path = made.path / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match=name):
        manifest.verify(made.path)
