"""What layers give out, in families that call their layers differently."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes.families import saved
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from stead.core.errors import ModelError
from stead.data.pack import Batch
from stead.models.features import blocks
from stead.models.learner import Learner
from stead.models.load import load_model

IDS: dict[str, Any] = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 3}
CONFIGS = {
    "h": GPT2Config(**IDS, n_embd=32, n_layer=3, n_head=4, n_positions=64),
    "layers": LlamaConfig(
        **IDS, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_chosen_layers_give_what_transformers_says_they_give(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    base = saved(CONFIGS[name], tiny_model, tmp_path / "base")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    learner = Learner(load_model(base, dtype="fp32", device="cpu"))
    learner.model.eval()
    tokens = np.random.default_rng(0).integers(5, 300, 11)
    given = Batch(tokens, np.full(11, -100), np.arange(11), np.array([0, 11]), np.array([0]))

    with torch.no_grad():
        last, (first, second) = learner.features(given, (1, 2))
        wanted = plain(input_ids=torch.as_tensor(tokens)[None], output_hidden_states=True)

    assert torch.allclose(first, wanted.hidden_states[1][0], atol=1e-5)
    assert torch.allclose(second, wanted.hidden_states[2][0], atol=1e-5)
    assert torch.allclose(last, wanted.hidden_states[3][0], atol=1e-5)


def test_a_decoder_without_a_list_of_its_layers_is_told() -> None:
    class Odd(torch.nn.Module):
        config = CONFIGS["layers"]

    with pytest.raises(ModelError, match="Odd does not hold its 3 layers") as caught:
        blocks(Odd())

    assert caught.value.code == "no-layer"
