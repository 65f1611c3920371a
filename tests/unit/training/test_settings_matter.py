"""No dead knobs: changing one setting of these methods and adapters changes what is learnt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes import training

LSTM = {"tokens": 3, "encoder": "lstm", "hidden": 8}
JSD = {"divergence": "jsd"}
OWN = {"on_policy": 1.0}
KNOBS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("adapter", "prompt", {"tokens": 3}, {"start": "random"}),
    ("adapter", "prompt", {"tokens": 3}, {"text": "the quick brown fox"}),
    ("adapter", "p_tuning", {"tokens": 3}, {"encoder": "lstm"}),
    ("adapter", "p_tuning", LSTM, {"hidden": 16}),
    ("adapter", "p_tuning", LSTM, {"layers": 1}),
    ("adapter", "prefix", {"tokens": 3}, {"start": "random"}),
    ("adapter", "prefix", {"tokens": 3}, {"projection": True}),
    ("adapter", "prefix", {"tokens": 3, "projection": True}, {"hidden": 8}),
    ("adapter", "qat", {}, {"group": 0}),
    ("adapter", "qat", {}, {"activations": True}),
    ("adapter", "pruning", {"end": 1.0}, {"every": 1}),
    ("adapter", "pruning", {"every": 1}, {"begin": 0.5}),
    ("adapter", "pruning", {"method": "structured"}, {"importance": "first-order"}),
    ("method", "distillation", {}, {"temperature": 3.0}),
    ("method", "distillation", {}, {"divergence": "reverse_kl"}),
    ("method", "distillation", {}, {"alpha": 0.1}),
    ("method", "distillation", {}, {"top_k": 3}),
    ("method", "distillation", JSD, {"beta": 0.1}),
    ("method", "distillation", {"kind": "feature"}, {"layers": ((2, 1),)}),
    ("method", "distillation", OWN | {"max_new_tokens": 6}, {"max_new_tokens": 2}),
    ("method", "distillation", OWN, {"on_policy": 0.3}),
]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import make_tiny_model

    folder = tmp_path_factory.mktemp("teacher")
    make_tiny_model(folder, seed=5)
    return folder


@pytest.fixture(scope="module")
def learnt(tiny_model: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the hash of what a run with these settings learns; equal settings run once."""
    folder = tmp_path_factory.mktemp("runs")
    data = training.prepared(folder / "data", training.rows(4))
    seen: dict[str, str] = {}

    def run(kind: str, name: str, settings: dict[str, Any]) -> str:
        key = f"{name} {sorted(settings.items())}"
        if key not in seen:
            torch.set_num_threads(1)
            if name == "distillation":
                settings = settings | {"teacher": str(teacher)}
            chosen: dict[str, Any] = {kind: name, f"{kind}_config": settings}
            out = folder / str(len(seen))
            result = training.run(tiny_model, data, out, lr=1e-3, **chosen)
            seen[key] = str(result["weights_sha256"])
        return seen[key]

    return run


@pytest.mark.parametrize(("kind", "name", "given", "changed"), KNOBS)
def test_a_setting_changes_what_is_learnt(
    kind: str, name: str, given: dict[str, Any], changed: dict[str, Any], learnt: Any
) -> None:
    assert learnt(kind, name, given) != learnt(kind, name, given | changed)
