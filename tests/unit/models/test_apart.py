"""Families with an attention of their own: rows one by one, whatever the proofs say; a prefix by the cache."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes import preference
from tests.fakes.families import saved
from tests.fakes.training import prepared, rows, run
from transformers import AutoModelForCausalLM, FalconConfig, GptOssConfig, MambaConfig

from stead.core.errors import ModelError
from stead.data.pack import Batch
from stead.models.adapter import Origin
from stead.models.adapters.prefix import PrefixConfig, PrefixTuning
from stead.models.adapters.prompt import PromptConfig, PromptTuning
from stead.models.layers import layers
from stead.models.learner import Learner, LearnerOptions
from stead.models.load import load_model

SMALL: dict[str, Any] = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 3}  # fmt: skip
FALCON = FalconConfig(**SMALL, num_attention_heads=4)  # one key head, whatever its config says
SINKS = GptOssConfig(
    **SMALL, num_attention_heads=4, num_key_value_heads=2, intermediate_size=32, head_dim=8,
    num_local_experts=2, num_experts_per_tok=1, max_position_embeddings=128,
)  # fmt: skip


def batch(lengths: tuple[int, ...]) -> Batch:
    count = sum(lengths)
    tokens = np.random.default_rng(0).integers(5, 300, count)
    positions = np.concatenate([np.arange(n) for n in lengths])
    starts = np.cumsum([0, *lengths])
    return Batch(tokens, np.full(count, -100), positions, starts, np.arange(len(lengths)))


@pytest.mark.parametrize("config", [FALCON, SINKS], ids=["falcon", "sinks"])
def test_rows_do_not_see_each_other_before_any_proof(
    config: Any, tiny_model: Path, tmp_path: Path
) -> None:
    base = saved(config, tiny_model, tmp_path / "base")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    learner = Learner(load_model(base, dtype="fp32", device="cpu"))
    given = batch((9, 7, 12))

    with torch.no_grad():
        found = learner.logits(learner.hidden(given))
        cut = torch.split(torch.as_tensor(given.tokens), (9, 7, 12))
        wanted = torch.cat([plain(input_ids=row[None]).logits[0] for row in cut])

    assert torch.allclose(found, wanted, atol=1e-6)


def test_a_prefix_computes_in_training_what_it_computes_when_used(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = saved(FALCON, tiny_model, tmp_path / "base")
    loaded = load_model(base, dtype="fp32", device="cpu")
    adapter = PrefixTuning(PrefixConfig(tokens=4, start="random"))
    adapter.wrap(loaded.model, layers, 1)
    torch.manual_seed(2)
    prompt = loaded.model.virtual_prompt.source.weight
    prompt.data.normal_(0, 0.5)
    (tmp_path / "adapter").mkdir()
    adapter.save(loaded.model, layers, tmp_path / "adapter", Origin(base))
    used = load_model(base, dtype="fp32", device="cpu", adapter=tmp_path / "adapter").model.eval()
    learner, given = Learner(loaded), batch((9,))

    ours = learner.logits(learner.hidden(given))
    ours.sum().backward()

    assert prompt.grad is not None
    assert float(prompt.grad.abs().sum()) > 0
    with torch.no_grad():
        theirs = used(input_ids=torch.as_tensor(given.tokens)[None]).logits[0]
        bare = load_model(base, dtype="fp32", device="cpu").model(
            input_ids=torch.as_tensor(given.tokens)[None]
        )
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, bare.logits[0], atol=1e-3)


def test_falcon_with_a_prefix_trains(tiny_model: Path, tmp_path: Path) -> None:
    base = saved(FALCON, tiny_model, tmp_path / "base")
    data = prepared(tmp_path / "data", rows(8))

    result = run(base, data, tmp_path / "run", adapter="prefix", max_steps=2, proofs=True)

    assert result["steps"] == 2


def test_a_prefix_with_recomputed_activations_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    loaded = load_model(saved(FALCON, tiny_model, tmp_path / "base"), dtype="fp32", device="cpu")
    PrefixTuning(PrefixConfig(tokens=4)).wrap(loaded.model, layers, 1)
    learner = Learner(loaded, LearnerOptions(checkpointing=True))
    loaded.model.train()

    with pytest.raises(ModelError, match="recomputing activations") as caught:
        learner.hidden(batch((9,)))

    assert caught.value.code == "no-virtual-tokens"


@pytest.mark.parametrize(
    "adapter",
    [PrefixTuning(PrefixConfig()), PromptTuning(PromptConfig())],
    ids=["prefix", "prompt"],
)
def test_a_model_without_keys_has_no_place_for_virtual_tokens(
    adapter: Any, tiny_model: Path, tmp_path: Path
) -> None:
    config = MambaConfig(**SMALL, state_size=4)
    loaded = load_model(saved(config, tiny_model, tmp_path / "base"), dtype="fp32", device="cpu")

    with pytest.raises(ModelError, match="MambaModel") as caught:
        adapter.wrap(loaded.model, layers, 1)

    assert caught.value.code == "no-virtual-tokens"


def test_answers_to_one_prompt_are_each_computed_behind_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = saved(FALCON, tiny_model, tmp_path / "base")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    learner = Learner(load_model(base, dtype="fp32", device="cpu"))
    flat = batch((9, 7, 5))
    positions = np.concatenate([np.arange(9), 9 + np.arange(7), 9 + np.arange(5)])
    given = replace(flat, positions=positions, parents=(-1, 0, 0))

    with torch.no_grad():
        found = learner.logits(learner.hidden(given))
        prompt, one, other = torch.split(torch.as_tensor(given.tokens), (9, 7, 5))
        wanted = [plain(input_ids=torch.cat((prompt, own))[None]).logits[0] for own in (one, other)]

    assert torch.allclose(found, torch.cat((wanted[0], wanted[1][9:])), atol=1e-6)


@pytest.mark.parametrize("method", ["dpo", "orpo", "reward"])
def test_falcon_learns_from_preferences(method: str, tiny_model: Path, tmp_path: Path) -> None:
    base = saved(FALCON, tiny_model, tmp_path / "base")
    data = preference.prepared_pairs(tmp_path / "data", preference.pairs(8))

    result = run(base, data, tmp_path / "run", method=method, max_steps=2, proofs=True)

    assert result["steps"] == 2


def test_falcon_learns_from_labelled_answers(tiny_model: Path, tmp_path: Path) -> None:
    base = saved(FALCON, tiny_model, tmp_path / "base")
    data = preference.prepared_labelled(tmp_path / "data", preference.labelled(8))

    result = run(base, data, tmp_path / "run", method="kto", max_steps=2, proofs=True)

    assert result["steps"] == 2
