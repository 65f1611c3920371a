"""RunConfig: ranges, cross rules, suggestions, extensions, round trips."""

import json
import string
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from stead.config import load
from stead.config.recipe import read_recipe
from stead.config.run import RunConfig
from stead.config.schema import schemas
from stead.config.validate import keys, suggest_key
from stead.core import files
from stead.core.errors import ConfigError


def problem(**over: Any) -> dict[str, Any]:
    """Return the first problem that a recipe with these dotted keys has."""
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, {key.replace("__", "."): value for key, value in over.items()})
    assert caught.value.code == caught.value.details["problems"][0]["code"]
    found: dict[str, Any] = caught.value.details["problems"][0]
    return found


def dotted(data: dict[str, Any] | None = None) -> list[str]:
    return [key for key in keys(RunConfig, data) if "." in key]


def typos(word: str) -> list[str]:
    """Every one-character typo: a letter dropped, doubled, swapped, replaced by a neighbor."""
    found = [word[:i] + word[i + 1 :] for i in range(len(word))]
    found += [word[:i] + word[i] + word[i:] for i in range(len(word))]
    found += [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)]
    for i, letter in enumerate(word):
        at = string.ascii_lowercase.find(letter)
        found.append(word[:i] + string.ascii_lowercase[(at + 1) % 26] + word[i + 1 :])
    return [t for t in found if t and t != word]


@pytest.mark.spec("003-005", "003-010")
def test_every_typo_of_every_key_is_refused_and_the_right_key_is_suggested() -> None:
    asked = right = 0

    for key in dotted():
        section, _, word = key.rpartition(".")
        known = {k for k in dotted() if k.startswith(section + ".")}
        for typo in typos(word):
            if f"{section}.{typo}" in known:
                continue
            found = suggest_key(RunConfig, {}, (*section.split("."), typo))
            asked += 1
            right += found == key

    assert asked > 1000
    assert right / asked >= 0.95


def test_a_sample_of_typos_is_refused_with_place_and_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model:\n  path: m\ntrainer:\n  epochs: 1\n  warmpu: 0.1\n")

    with pytest.raises(ConfigError) as caught:
        read_recipe(file)

    assert caught.value.code == "unknown-key"
    assert caught.value.message == (
        f"{file}:5: there is no key 'trainer.warmpu'; did you mean 'trainer.warmup'?"
    )


def test_where_nothing_is_alike_the_sections_keys_are_told() -> None:
    told = problem(adapter={"type": "ia3", "size": 3})

    assert told["suggestion"] is None
    assert told["message"].startswith("there is no key 'adapter.size'; adapter has type, ")
    assert problem(adapter={"type": "lora", "rank": 3})["suggestion"] == "adapter.r"


def test_a_key_in_the_wrong_section_is_suggested_where_it_belongs() -> None:
    assert problem(zebra=3)["suggestion"] is None
    assert problem(epochs=3)["suggestion"] == "trainer.epochs"
    assert problem(r=3)["suggestion"] == "adapter.r"


@pytest.mark.spec("000-047")
def test_a_key_of_an_extension_is_checked_by_the_extension() -> None:
    assert problem(adapter__rr=3)["suggestion"] == "adapter.r"
    assert problem(adapter="lroa")["code"] == "unknown-name"
    assert problem(adapter__r=0)["key"] == "adapter.r"
    assert problem(**{"adapter": "full", "adapter.r": 8})["code"] == "unknown-key"


@pytest.mark.spec("003-005", "000-047")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.epochs", 0), ("trainer.epochs", True), ("trainer.epochs", "many"),
        ("trainer.max_steps", 0), ("trainer.batch_tokens", 7), ("trainer.batch_rows", -1),
        ("trainer.accumulation", 0), ("trainer.lr", -1), ("trainer.lr", "high"),
        ("trainer.schedule", "cosin"), ("trainer.warmup", -0.1), ("trainer.weight_decay", 2),
        ("trainer.clip", -1), ("trainer.betas", [0.9]), ("trainer.betas", [0.9, 1.0]),
        ("trainer.seed", -1), ("trainer.seed", 2**63), ("trainer.keep", 0),
        ("trainer.optimizer", "adam"), ("trainer.type", "nativ"), ("data.eval_share", 1),
        ("data.max_length", 0), ("data.limit", 0), ("data.on_error", "ignore"),
        ("data.reader", "xlsx"), ("data.path", 7), ("model.dtype", "float16"),
        ("model.device", "gpu"), ("launch.type", "slurm"), ("evaluation.metrics", ["exact"]),
        ("export", [{"format": "zip"}]), ("export", [{"quant": "q8_0"}]), ("trainer", 3),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_with_key_and_value(key: str, value: object) -> None:
    found = problem(**{key: value})

    assert found["code"] in ("bad-value", "unknown-name", "missing-key")
    assert found["key"].startswith(key)


@pytest.mark.spec("003-005")
@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"trainer.batch_rows": 2, "trainer.batch_tokens": 64}, "are both set"),
        ({"trainer.batch_tokens": None}, "batch_rows must be set"),
        ({"trainer.batch_tokens": 64, "data.max_length": 128}, "longer than one micro-batch"),
        ({"trainer.eval_every": 5, "data.eval_share": 0}, "needs held-out rows"),
        ({"model.dtype": "fp16", "model.device": "cpu"}, "cannot be trained"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(over: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read_recipe(None, over)

    assert caught.value.code == "conflict"


def test_every_problem_is_named_in_one_go() -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe({"trainer": {"lr": -1, "epohs": 2}, "data": {"limit": 0}})

    assert {p["key"] for p in caught.value.details["problems"]} == {
        "trainer.lr", "trainer.epohs", "data.limit",
    }  # fmt: skip


@pytest.mark.spec("003-009")
def test_a_configuration_cannot_be_changed() -> None:
    config = read_recipe(None).config

    with pytest.raises(ValidationError, match="frozen"):
        config.trainer.lr = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "other"


@pytest.mark.parametrize(
    ("key", "value"),
    [("trainer.clip", 0), ("data.dedupe", False), ("model.path", ""), ("evaluation.metrics", [])],
)
def test_a_falsy_value_is_a_value(key: str, value: object) -> None:
    recipe = read_recipe(None, {key: value}, "option")

    section, _, name = key.partition(".")
    found = recipe.config.model_dump(mode="json")[section][name]
    assert (found, recipe.origin(key)) == (value, "option")


@pytest.mark.spec("003-058")
def test_an_override_wins_over_the_file_and_brings_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("trainer: {lr: 1e-3, epochs: 2}\nadapter: {type: lora, r: 4}\n")

    recipe = read_recipe(file, {"trainer.lr": 5e-4, "adapter.r": 16}, "option")

    assert (recipe.config.trainer.lr, recipe.config.trainer.epochs) == (5e-4, 2)
    assert recipe.config.adapter.model_dump()["r"] == 16
    assert recipe.origin("trainer.lr") == "option"
    assert recipe.origin("trainer.epochs") == f"{file}:1"


def test_naming_another_adapter_drops_the_settings_of_the_former() -> None:
    recipe = read_recipe({"adapter": {"type": "lora", "r": 4}}, {"adapter": "full"})

    assert recipe.config.adapter.model_dump() == {"type": "full"}


def test_naming_the_same_adapter_keeps_its_settings() -> None:
    recipe = read_recipe({"adapter": {"type": "lora", "r": 4}}, {"adapter": "lora"})

    assert recipe.config.adapter.model_dump()["r"] == 4


def test_a_name_alone_takes_settings_from_overrides() -> None:
    recipe = read_recipe({"adapter": "lora"}, {"adapter.r": 2})

    assert recipe.config.adapter.model_dump()["r"] == 2


@pytest.mark.spec("003-027")
@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_saved_configuration_loads_equal(tmp_path: Path, ending: str) -> None:
    over = {"trainer.lr": 1e-4, "adapter.r": 16, "data.path": ["a", {"path": "b", "limit": 3}]}
    config = read_recipe(None, over | {"trainer.betas": [0.8, 0.9]}).config
    file = tmp_path / f"r.{ending}"

    load.dump(file, config.model_dump(mode="json"))

    again = read_recipe(file).config
    assert again == config
    assert files.hash_value(again.model_dump(mode="json")) == files.hash_value(
        config.model_dump(mode="json")
    )


def sections(model: type[BaseModel]) -> list[tuple[str, Any]]:
    return [(f"{model.__name__}.{n}", f) for n, f in model.model_fields.items()]


def test_every_field_has_a_description() -> None:
    schema = schemas()

    missing = [
        f"{name}.{key}"
        for root in schema.values()
        for name, part in [("root", root), *root["$defs"].items()]
        for key, field in part.get("properties", {}).items()
        if key != "type" and "description" not in field
    ]

    assert missing == []


@pytest.mark.spec("000-033")
def test_schemas_hold_registered_extensions_and_names() -> None:
    run = schemas()["run"]

    text = json.dumps(run)
    assert {"lora", "full"} <= set(run["properties"]["adapter"]["anyOf"][0]["enum"])
    assert "jsonl" in run["$defs"]["DataSection"]["properties"]["reader"]["enum"]
    assert '"maximum": 1024' in text  # lora's own r


@pytest.mark.spec("003-010")
def test_a_wrong_recipe_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    found = problem(**{"model.path": str(tmp_path / "none"), "trainer.lr": "x"})

    assert found["key"] == "trainer.lr"
    assert list(tmp_path.iterdir()) == []
