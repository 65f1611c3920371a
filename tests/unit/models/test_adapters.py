"""AdaLoRA's budget against PEFT's allocator, freeze, (IA)³, targets, bad adapters, and merging of each."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.fakes import matrix

from stead.config.kinds import registry
from stead.core.errors import ModelError
from stead.hub.inspect import inspect
from stead.models import merge
from stead.models.adapter import Adapter, Origin, Step
from stead.models.layers import layers
from stead.models.load import load_model
from stead.models.targets import linear_layers
from stead.models.writing.likelihood import score

IDS = torch.arange(5, 25)[None]
PROBE = [[5, 9, 30, 7, 12, 41], [8, 8, 100, 3]]


def make(name: str, **settings: Any) -> Adapter:
    config = registry("adapter").config_of(name)(**settings)
    return registry("adapter").create(name, config=config)


def model_of(folder: Path) -> Any:
    return load_model(folder, dtype="fp32", device="cpu").model


def moved(folder: Path, name: str, **settings: Any) -> tuple[Any, Adapter]:
    """Return a model with an adapter whose numbers are not those of the start."""
    model, adapter = model_of(folder), make(name, **settings)
    adapter.wrap(model, layers, 1)
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return model, adapter


def ranked_step(model: Any, number: int, total: int, seed: int) -> Step:
    """Return a step with seeded gradients on every trained weight."""
    torch.manual_seed(seed)
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for parameter in weights.values():
        parameter.grad = torch.randn_like(parameter)
        parameter.data.add_(parameter.grad, alpha=-0.01)
    return Step(model, weights, {n: p.grad for n, p in weights.items()}, number, total)


def peft_view(model: Any) -> Any:
    """Show our layers under the names that PEFT's allocator looks for."""
    named = [(f"{n}.default", p) for n, p in model.named_parameters() if ".lora_" in n]
    return SimpleNamespace(named_parameters=lambda: iter(named))


@pytest.mark.spec("003-073")
def test_the_budget_is_cut_as_pefts_allocator_cuts_it(tiny_model: Path) -> None:
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    settings = {"init_r": 4, "target_r": 2, "tinit": 2, "tfinal": 3, "delta_t": 2}
    ours, adapter = moved(tiny_model, "adalora", **settings)
    theirs, _ = moved(tiny_model, "adalora", **settings)
    config = AdaLoraConfig(init_r=4, target_r=2, tinit=2, tfinal=3, deltaT=2, total_step=12)
    allocator = RankAllocator(peft_view(theirs), config, "default")

    for number in range(1, 10):
        adapter.after_step(ranked_step(ours, number, 12, number))
        ranked_step(theirs, number, 12, number)
        allocator.update_and_allocate(peft_view(theirs), number, force_mask=number == 9)

        for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(mine, other), (number, name)

    alive = sum(int((p != 0).sum()) for n, p in ours.named_parameters() if n.endswith("lora_E"))
    assert alive == 2 * len(linear_layers(ours))


def test_the_choice_stays_after_the_last_cut_and_survives_a_kill(tiny_model: Path) -> None:
    settings = {"init_r": 4, "target_r": 1, "tinit": 0, "tfinal": 2}
    model, adapter = moved(tiny_model, "adalora", **settings)
    for number in (1, 2, 3):
        adapter.after_step(ranked_step(model, number, 5, number))
    zero = {n: p.detach() == 0 for n, p in model.named_parameters() if n.endswith("lora_E")}
    fresh = make("adalora", **settings)
    fresh.restore(*json_round(adapter.state()))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(1.0)

    assert fresh.after_step(ranked_step(model, 4, 5, 4))

    again = {n: p == 0 for n, p in model.named_parameters() if n.endswith("lora_E")}
    assert all(torch.equal(zero[n], again[n]) for n in zero)
    assert sum(int(z.sum()) for z in zero.values()) == 3 * len(zero)


def json_round(kept: Any) -> Any:
    return kept[0], json.loads(json.dumps(kept[1]))


def test_the_penalty_is_pefts_regularization(tiny_model: Path) -> None:
    model, adapter = moved(tiny_model, "adalora", orth_reg_weight=0.5)
    found = []
    for name, p in model.named_parameters():
        if name.endswith(("lora_A", "lora_B")):
            product = p @ p.T if name.endswith("lora_A") else p.T @ p
            found.append(torch.norm(product - torch.eye(product.shape[0]), p="fro"))

    penalty = adapter.penalty(model)

    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(
        float(0.5 * torch.stack(found).detach().mean()), rel=1e-6
    )
    assert make("adalora", orth_reg_weight=0.0).penalty(model) is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"init_r": 2, "target_r": 3}, "above init_r"), ({"tinit": 0.5, "tfinal": 0.5}, "no steps")],
)
def test_a_budget_that_cannot_shrink_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        make("adalora", **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"layers": 1}, {"model.layers.1."}),
        ({"layers": -1}, {"model.layers.0."}),
        ({"layers": 0, "names": ("*.norm.weight",)}, {"model.norm."}),
        ({"layers": 1, "names": ("model.embed_tokens.*",)}, {"model.layers.1.", "model.embed_tokens."}),
    ],
)  # fmt: skip
def test_freeze_trains_the_named_part_only(
    settings: dict[str, Any], expected: set[str], tiny_model: Path
) -> None:
    model = model_of(tiny_model)

    make("freeze", **settings).wrap(model, layers, 1)

    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == any(name.startswith(e) for e in expected), name


@pytest.mark.parametrize("settings", [{"layers": 9}, {"names": ("no.such.*",)}])
def test_freeze_names_what_is_not_there(settings: dict[str, Any], tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.such|layers=9") as caught:
        make("freeze", **settings).wrap(model_of(tiny_model), layers, 1)

    assert caught.value.code == "unknown-target"


def test_freeze_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to train"):
        make("freeze", layers=0)


def test_ia3_scales_keys_values_and_feed_forward_inputs(tiny_model: Path) -> None:
    model = model_of(tiny_model)
    plain = model(input_ids=IDS).logits

    make("ia3").wrap(model, layers, 1)

    trained = {n: p.shape[0] for n, p in model.named_parameters() if p.requires_grad}
    first = {n: s for n, s in trained.items() if ".0." in n}
    assert {n.rsplit(".", 2)[-2] for n in first} == {"k_proj", "v_proj", "down_proj"}
    inner = model.model.layers[0].mlp.down_proj
    assert first["model.layers.0.mlp.down_proj.ia3_l"] == inner.in_features
    assert torch.equal(model(input_ids=IDS).logits, plain)


@pytest.mark.parametrize("name", ["lora", "qlora", "adalora"])
def test_an_unknown_target_names_what_there_is(name: str, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"no linear layer 'qq_proj'.*q_proj") as caught:
        make(name, target_modules=("qq_proj",)).wrap(model_of(tiny_model), layers, 1)

    assert caught.value.code == "unknown-target"


@pytest.mark.parametrize(
    "settings",
    [{"layers": (7,)}, {"modules_to_save": ("no_such",)}, {"rank_pattern": {"q_porj": 7}},
     {"alpha_pattern": {"layers.7.q_proj": 2.0}}],
)  # fmt: skip
def test_other_unknown_places_are_named(settings: dict[str, Any], tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"7|no_such|q_porj") as caught:
        make("lora", **settings).wrap(model_of(tiny_model), layers, 1)

    assert caught.value.code == "unknown-target"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lora", {"target_modules": ("qq_proj",)}), ("adalora", {"target_modules": ("qq_proj",)}),
        ("ia3", {"target_modules": ("qq_proj",)}), ("qlora", {"layers": (7,)}),
        ("lora", {"rank_pattern": {"q_porj": 7}}), ("lora", {"modules_to_save": ("lm_hed",)}),
        ("freeze", {"layers": 0, "names": ("lm_hed.*",)}),
        ("ia3", {"feedforward_modules": ("qq_proj",)}),
    ],
)  # fmt: skip
def test_a_plan_refuses_unknown_places_before_anything_is_loaded(
    name: str, settings: dict[str, Any], tiny_model: Path
) -> None:
    config, facts = make(name, **settings).config, inspect(tiny_model, tokenizer=False)
    asked = "require" if "target_modules" in settings else "trained_parameters"

    with pytest.raises(ModelError, match=r"7|qq_proj|q_porj|lm_hed") as caught:
        getattr(config, asked)(facts)

    assert caught.value.code == "unknown-target"


@pytest.mark.parametrize(
    ("name", "settings"),
    [("qat", {"group": 48}), ("pruning", {"pattern": "2:7"}), ("pruning", {"method": "wanda", "pattern": "2:7"})],
)  # fmt: skip
def test_a_plan_refuses_rows_that_are_no_whole_groups(
    name: str, settings: dict[str, Any], tiny_model: Path
) -> None:
    with pytest.raises(ModelError, match=r"rows of \d+ weights of model\..* would do") as caught:
        make(name, **settings).config.trained_parameters(inspect(tiny_model, tokenizer=False))

    assert caught.value.code == "group-size"


def test_a_pattern_that_is_no_expression_is_refused() -> None:
    with pytest.raises(ValidationError, match="no regular expression"):
        make("lora", rank_pattern={"(": 4})


@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ("lm_head",)}, {"modules_to_save": ("embed_tokens",), "dora": True},
        {"layers": (1,), "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 16}},
        {"target_modules": ("q_proj", "mlp.up_proj")},
    ],
)  # fmt: skip
def test_a_plan_counts_what_lora_trains(settings: dict[str, Any], tiny_model: Path) -> None:
    adapter, model = make("lora", **settings), model_of(tiny_model)
    adapter.wrap(model, layers, 1)

    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert adapter.config.trained_parameters(inspect(tiny_model, tokenizer=False)) == trained


@pytest.mark.parametrize("name", registry("adapter").names())
def test_an_adapter_of_another_base_is_refused_by_name(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    model, adapter = moved(tiny_model, name, **matrix.settings("adapter", name, tiny_model))
    if adapter.kind == "model":
        return  # loaded as a model: it brings its own base
    adapter.save(model, layers, tmp_path, Origin(Path("models/other-base"), "f00d" * 16))
    record = {"base": "models/other-base", "base_hash": "f00d" * 16}
    (tmp_path / "stead.json").write_text(json.dumps(record))

    with pytest.raises(ModelError, match=r"other-base.*f00df00df00d") as caught:
        load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    assert caught.value.code == "wrong-base"
    record["base_hash"] = inspect(tiny_model, tokenizer=False).hash
    (tmp_path / "stead.json").write_text(json.dumps(record))
    assert load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path).adapter == tmp_path


MERGEABLE = {
    "lora": ("lora", {}),
    "dora": ("lora", {"dora": True}),
    "rslora": ("lora", {"rslora": True}),
    "pissa": ("lora", {"init": "pissa", "r": 3}),
    "patterns": ("lora", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3.0}}),
    "whole": ("lora", {"modules_to_save": ("lm_head",)}),
    "adalora": ("adalora", {"init_r": 3, "target_r": 2}),
    "ia3": ("ia3", {}),
}


@pytest.mark.parametrize("case", MERGEABLE)
def test_a_merged_model_gives_the_adapters_log_probs(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    name, settings = MERGEABLE[case]
    model, adapter = moved(tiny_model, name, **settings)
    (tmp_path / "a").mkdir()
    adapter.save(model, layers, tmp_path / "a", Origin(tiny_model))
    beside = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path / "a")

    merge.merge(tiny_model, tmp_path / "a", tmp_path / "out")

    merged = load_model(tmp_path / "out", dtype="fp32", device="cpu")
    pairs = zip(score(merged, PROBE), score(beside, PROBE), strict=True)
    assert all(one == pytest.approx(other, abs=1e-5) for one, other in pairs)
    plain = score(load_model(tiny_model, dtype="fp32", device="cpu"), PROBE)
    assert plain[0] != pytest.approx(score(merged, PROBE)[0], abs=1e-3)


@pytest.mark.parametrize("name", ["prompt", "prefix", "p_tuning"])
def test_virtual_tokens_are_no_weights_to_merge(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    model, adapter = moved(tiny_model, name, tokens=2)
    (tmp_path / "a").mkdir()
    adapter.save(model, layers, tmp_path / "a", Origin(tiny_model))

    with pytest.raises(ModelError, match="cannot be merged") as caught:
        merge.merge(tiny_model, tmp_path / "a", tmp_path / "out")

    assert caught.value.code == "adapter-type"


@pytest.mark.parametrize("init", ["pissa", "olora", "loftq"])
def test_an_unconverted_start_that_changed_the_base_is_not_merged(
    init: str, tiny_model: Path, tmp_path: Path
) -> None:
    model, adapter = moved(tiny_model, "lora")
    (tmp_path / "a").mkdir()
    adapter.save(model, layers, tmp_path / "a", Origin(tiny_model))
    path = tmp_path / "a" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"init_lora_weights": init}))

    with pytest.raises(ModelError, match=init):
        merge.merge(tiny_model, tmp_path / "a", tmp_path / "out")


FORECAST = {
    "lora": {"r": 3},
    "lora auto": {"r": 3, "target_modules": "auto", "dora": True},
    "lora patterns": {"rank_pattern": {"q_proj": 2}, "layers": (1,), "modules_to_save": ("norm",)},
    "qlora": {"r": 4},
    "adalora": {"init_r": 5, "target_r": 2},
    "ia3": {},
    "freeze": {"layers": 1, "names": ("model.embed_tokens.*",)},
}


@pytest.mark.parametrize("case", FORECAST)
def test_the_plan_counts_what_is_trained(case: str, tiny_model: Path) -> None:
    adapter, model = make(case.split(maxsplit=1)[0], **FORECAST[case]), model_of(tiny_model)
    adapter.wrap(model, layers, 1)

    counted = adapter.config.trained_parameters(inspect(tiny_model, tokenizer=False))

    assert counted == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["ia3", "qlora", "prompt"])
def test_every_adapter_is_exported_as_a_folder_that_loads(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    from stead.exporting.run import run_export

    model, adapter = moved(tiny_model, name)
    (tmp_path / "a").mkdir()
    adapter.save(model, layers, tmp_path / "a", Origin(tiny_model))

    run_export(str(tmp_path / "a"), str(tmp_path / "out"), format="adapter")

    loads = [load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path / n) for n in ("a", "out")]  # fmt: skip
    assert score(loads[0], PROBE) == score(loads[1], PROBE)
