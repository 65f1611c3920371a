"""Families that lack what most have: no fused attention, no linear layers; said, or gone around."""

import pytest
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig

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
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=16, n_positions=8)
    model = AutoModelForCausalLM.from_config(config)

    with pytest.raises(ModelError, match="GPT2LMHeadModel has no linear layers") as caught:
        targets(model, "all-linear")

    assert caught.value.hint == "stead train RECIPE --adapter full"
