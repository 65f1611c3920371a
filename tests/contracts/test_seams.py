"""What holds between all extensions of a kind, all routes, and the methods that were promised by name."""

import ast
from pathlib import Path

import pytest

from stead.config import pairing
from stead.config.kinds import KINDS, registry
from stead.web.app import routers

ROUTES = Path(__file__).resolve().parents[2] / "src" / "stead" / "web" / "routes"
PROMISED = {  # the 21 ways of training, by their names elsewhere: method, adapter
    "full_finetuning": ("sft", "full"), "lora": ("sft", "lora"), "qlora": ("sft", "qlora"),
    "adalora": ("sft", "adalora"), "prefix_tuning": ("sft", "prefix"),
    "p_tuning": ("sft", "p_tuning"), "prompt_tuning": ("sft", "prompt"), "ia3": ("sft", "ia3"),
    "instruction_tuning": ("sft", "lora"), "rlhf": ("ppo", "lora"), "dpo": ("dpo", "lora"),
    "rlaif": ("rlaif", "lora"), "simcse": ("contrastive", "lora"),
    "contrastive_alignment": ("contrastive", "lora"),
    "vanilla_distillation": ({"type": "distillation", "kind": "logits"}, "lora"),
    "feature_distillation": ({"type": "distillation", "kind": "feature"}, "lora"),
    "self_distillation": ({"type": "distillation", "kind": "self"}, "lora"),
    "qat_int8": ("sft", {"type": "qat", "bits": 8}), "qat_int4": ("sft", {"type": "qat", "bits": 4}),
    "magnitude_pruning": ("sft", {"type": "pruning", "method": "magnitude"}),
    "structured_pruning": ("sft", {"type": "pruning", "method": "structured"}),
}  # fmt: skip
FILES = {  # routes that send a file or a stream, which no model describes
    "GET /api/evaluations/{evaluation_id}/download", "GET /api/runs/{run_id}/artifacts/{name:path}",
    "GET /api/runs/{run_id}/events", "GET /api/runs/{run_id}/report",
}  # fmt: skip


@pytest.mark.spec("003-071")
@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_way_of_training_is_a_method_and_an_adapter_that_go_together(name):
    method, adapter = (x if isinstance(x, dict) else {"type": x} for x in PROMISED[name])

    for kind, given in (("method", method), ("adapter", adapter)):
        config = registry(kind).config_of(given["type"]).model_validate(given)
        assert given.items() <= config.model_dump().items()
    assert pairing.refusal(method["type"], adapter["type"]) is None


@pytest.mark.spec("003-007", "000-026")
@pytest.mark.parametrize("kind", [k for k in KINDS if registry(k).names()])
def test_no_implementation_inherits_another(kind):
    classes = {name: registry(kind).get(name) for name in registry(kind).names()}

    heirs = [
        (name, other)
        for name, found in classes.items()
        for other, base in classes.items()
        if name != other and issubclass(found, base)
    ]

    assert heirs == []


@pytest.mark.spec("002-008")
def test_no_route_is_longer_than_a_look():
    lengths = {
        f"{path.name}:{node.name}": node.end_lineno - node.lineno + 1
        for path in ROUTES.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert len(lengths) > 100
    assert {name: n for name, n in lengths.items() if n > 25} == {}


@pytest.mark.spec("002-046")
def test_every_route_declares_what_it_takes_and_gives():
    plain = set()
    for router in routers().values():
        for route in router.routes:
            if "methods" not in vars(route):
                continue  # the socket
            if route.response_model is None:
                plain.add(f"{min(route.methods)} {route.path}")

    assert plain == FILES
