"""Families that lack what most have: no fused attention, no linear layers; said, or gone around."""

import pytest
import torch
from transformers import Gemma2Config, LlamaConfig

from stead.core.errors import ModelError
from stead.models.load import supported
from stead.models.targets import targets


@pytest.mark.parametrize(
    ("config", "kernel"),
    [(Gemma2Config(architectures=["Gemma2ForCausalLM"]), "eager"),
     (LlamaConfig(architectures=["LlamaForCausalLM"]), "sdpa")],
)  # fmt: skip
def test_an_architecture_without_fused_attention_gets_the_plain_one(
    config: LlamaConfig | Gemma2Config, kernel: str
) -> None:
    assert supported(config, "sdpa", "asked for")[0] == kernel
    assert supported(config, "eager", "asked for") == ("eager", "asked for")


def test_a_model_without_linear_layers_is_refused_with_what_works() -> None:
    with pytest.raises(ModelError, match="ReLU has no linear layers") as caught:
        targets(torch.nn.ReLU(), "all-linear")

    assert caught.value.hint == "stead train RECIPE --adapter full"
