"""What goes and what stays: exact shares, n of m, WANDA's scores, structure that is cut."""

import pytest
import torch

from stead.core.errors import ModelError
from stead.models.layers import layers, masks, observed, structure
from stead.models.layers.lowrank import Draw, set_draw


def scores(rows: int = 5, columns: int = 8) -> torch.Tensor:
    return torch.randperm(rows * columns, generator=torch.Generator().manual_seed(1)).view(
        rows, columns
    )


def test_the_schedule_is_the_papers_cubic() -> None:
    found = [masks.cubic(p, 0.8) for p in (-1.0, 0.0, 0.25, 0.5, 1.0, 2.0)]

    assert found == pytest.approx([0, 0, 0.8 * (1 - 0.75**3), 0.8 * (1 - 0.125), 0.8, 0.8])


def test_the_smallest_go_to_the_number() -> None:
    assert torch.equal(masks.keep_largest(scores(), 0.3), scores() >= 12)
    rows = masks.keep_largest_of_rows(scores().float(), 0.25)
    assert rows.sum(1).tolist() == [6] * 5
    together = masks.keep_largest_together({"a": scores() * 10, "b": scores() + 1000}, 0.5)
    assert [int(together[n].sum()) for n in "ab"] == [0, 40]


def test_n_of_m_keeps_the_largest_of_every_group() -> None:
    found = masks.keep_n_of_m(torch.tensor([[1.0, 4, 3, 2, 9, 8, 7, 6]]), 2, 4)

    assert found.tolist() == [[False, True, True, False, True, True, False, False]]


def test_wanda_scores_are_weight_times_the_norm_of_its_input() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    x, y = torch.randn(6, 4), torch.randn(2, 4)
    layers.observe(model, ["0"])
    for counter, rows in ((7, y), (3, x)):  # lanes end in any order
        former = set_draw(Draw(1, counter, True))
        model(rows)
        set_draw(former)
    model(x * 100)  # no training pass: not counted

    squares = observed.take_squares(model)

    norms = torch.cat((x, y)).norm(dim=0)
    expected = model[0].weight.abs() * norms
    torch.testing.assert_close(masks.wanda(model[0].weight, squares["0"]), expected)
    assert observed.take_squares(model) == {}


def small(**extra: int) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=12, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, attention_bias=True, **extra)
    )  # fmt: skip


def test_a_model_without_some_heads_and_neurons_gives_what_zeros_give(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from transformers import AutoModelForCausalLM

    from stead.models.folder import write_changed

    model = small()
    found = structure.units(model, ("heads", "neurons"))
    keep = {
        u.name: torch.tensor([True, False] if u.kind == "heads" else [True] * 7 + [False] * 5)
        for u in found
    }
    with torch.no_grad():
        for unit in found:
            for name, axis in unit.axes.items():
                weight = model.get_parameter(name)
                weight.mul_(unit.spread(keep[unit.name], weight, axis))
        ids = torch.arange(9)[None]
        expected = model(input_ids=ids).logits

    tensors, fields = structure.cut(model, found, keep)
    write_changed(model, tmp_path, tmp_path / "base", tensors, fields)

    smaller = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert fields == {"intermediate_size": 7, "head_dim": 4, "num_attention_heads": 2,
                      "num_key_value_heads": 1}  # fmt: skip
    assert smaller.model.layers[0].mlp.up_proj.weight.shape == (7, 16)
    assert smaller.model.layers[1].self_attn.o_proj.weight.shape == (16, 8)
    with torch.no_grad():
        assert torch.allclose(smaller(input_ids=ids).logits, expected, atol=1e-6)
    assert model.config.intermediate_size == 12  # the model in memory stays as it was


def test_an_architecture_without_known_heads_is_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=4, n_layer=1, n_head=2, n_positions=8))

    with pytest.raises(ModelError, match="'GPT2LMHeadModel' cannot be told apart"):
        structure.units(model, ("heads",))
