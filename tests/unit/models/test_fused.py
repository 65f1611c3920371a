"""Fused layers and packed attention against transformers' own code, row by row, in float32."""

import pytest
import torch
from tests.fakes.batches import flat
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)  # fmt: skip

from stead.models.layers import lowrank
from stead.models.learner import Learner, LearnerOptions
from stead.values import LoadedModel

LENGTHS = (7, 11, 5)
SMALL = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}  # fmt: skip
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama-bias": (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "llama-tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "mistral-window": (MistralConfig, MistralForCausalLM, {"sliding_window": 4}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, {"head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 5.0}),
}  # fmt: skip


def build(family: str) -> torch.nn.Module:
    kind, model, extra = FAMILIES[family]
    torch.manual_seed(0)
    built = model(kind(**{**SMALL, **extra})).float().eval()
    for parameter in built.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    return built


def learner(model: torch.nn.Module, *, fuse: bool = True, checkpointing: bool = False) -> Learner:
    loaded = LoadedModel(model, None, None, torch.device("cpu"), torch.float32)
    return Learner(loaded, LearnerOptions(chunk=4, fuse=fuse, checkpointing=checkpointing))


def gradients(learning: Learner, batch: object) -> tuple[float, dict[str, torch.Tensor]]:
    named = learning.trained()
    loss, count = learning.label_loss(batch)
    found = torch.autograd.grad(loss / count, [p for _, p in named])
    learning.close()
    return float(loss.detach()) / count, {n: g for (n, _), g in zip(named, found, strict=True)}


def unpacked(model: torch.nn.Module, batch: object) -> tuple[float, dict[str, torch.Tensor]]:
    """Each row alone through transformers' eager code: the reference."""
    model.set_attn_implementation("eager")
    total, count = 0.0, int((batch.labels != -100).sum())
    for a, b in zip(batch.starts[:-1], batch.starts[1:], strict=True):
        logits = model(input_ids=torch.as_tensor(batch.tokens[None, a:b])).logits[0].float()
        labels = torch.as_tensor(batch.labels[a:b])
        total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    (total / count).backward()
    named = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return float(total.detach()) / count, named


def worst(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    assert one.keys() == two.keys()
    return max(float((one[n] - two[n]).abs().max()) for n in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_gives_the_loss_and_gradients_of_rows_run_alone(family: str) -> None:
    batch = flat(LENGTHS)

    loss, found = gradients(learner(build(family)), batch)

    expected, reference = unpacked(build(family), batch)
    assert loss == pytest.approx(expected, abs=1e-6)
    assert worst(found, reference) < 1e-6  # gradients are near 1; one float32 rounding each


def adapted(family: str) -> torch.nn.Module:
    model = build(family)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    names = lowrank.detect_targets(model, "all-linear")
    lowrank.add_low_rank(model, names, rank=3, scaling=2.0, dropout=0.0, seed=1)
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_low_rank_layers_have_the_gradients_of_autograd(family: str) -> None:
    batch = flat(LENGTHS)

    loss, found = gradients(learner(adapted(family)), batch)

    expected, reference = unpacked(adapted(family), batch)
    assert loss == pytest.approx(expected, abs=1e-6)
    assert worst(found, reference) < 1e-6


def test_llama_layers_are_really_fused() -> None:
    learning = learner(build("llama"))

    assert len(learning.fused) == 2


@pytest.mark.spec("001-033", "002-056", "003-034")
def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less() -> None:
    batch = flat((40, 60))
    sizes = {}
    for checkpointing in (False, True):
        model = build("llama").train()
        learning = learner(model, checkpointing=checkpointing)
        kept: list[int] = []

        def pack(t: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss, count = learning.label_loss(batch)
        named = learning.trained()
        found = torch.autograd.grad(loss / count, [p for _, p in named])
        sizes[checkpointing] = (sum(kept), found)

    assert sizes[True][0] < sizes[False][0] / 2
    assert all(torch.equal(a, b) for a, b in zip(sizes[True][1], sizes[False][1], strict=True))


def test_closing_gives_the_model_back() -> None:
    model = build("llama")
    ids = torch.arange(5, 15)[None]
    before = model(input_ids=ids).logits

    learner(model).close()

    assert torch.equal(model(input_ids=ids).logits, before)
    assert all(p.is_contiguous() for p in model.parameters())


def test_the_optimizer_moves_fused_weights() -> None:
    """The compute copy of A and B must follow the masters (fused AdamW does not count versions)."""
    from stead.training.optimizer import OptimOptions
    from stead.training.optimizers.adamw import AdamW

    losses = {}
    for fuse in (False, True):
        learning = learner(adapted("llama"), fuse=fuse)
        optimizer = AdamW(learning.trained(), OptimOptions(weight_decay=0.0))
        losses[fuse] = []
        for _ in range(4):
            loss, count = learning.label_loss(flat(LENGTHS))
            found = torch.autograd.grad(loss / count, list(optimizer.parameters.values()))
            optimizer.step(dict(zip(optimizer.parameters, found, strict=True)), 1e-2)
            losses[fuse].append(float(loss.detach()))

    assert losses[True] == pytest.approx(losses[False], rel=1e-5)
    assert losses[True][-1] < losses[True][0]
