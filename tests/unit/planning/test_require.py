"""What a method cannot begin without is refused by the plan, before a model is loaded."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from stead.app.plans import make_plan
from stead.core.errors import ModelError, SteadError
from stead.models.heads import HEAD

JUDGE = {"url": "http://127.0.0.1:1", "model": "j"}


@pytest.fixture
def asked(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe with rows, in a folder with a file of rewards that must not be run."""
    monkeypatch.chdir(tmp_path)
    row = {"question": "two plus two", "answer": "four"}
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(row | {"n": i}) + "\n" for i in range(8))
    )
    (tmp_path / "mine.py").write_text("raise SystemExit('run by a plan')\ndef short(completions): ...\n")  # fmt: skip
    return {"model": {"path": str(tiny_model)}, "data": {"path": "rows.jsonl", "dedupe": False}}


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ({"type": "grpo"}, "no-rewards"),
        ({"type": "rloo"}, "no-rewards"),
        ({"type": "ppo"}, "no-rewards"),
        ({"type": "rlaif"}, "no-judge"),
        ({"type": "rlaif", "judge": JUDGE, "num_generations": 3}, "odd-pairs"),
        ({"type": "rlaif", "judge": JUDGE, "rewards": ["nowhere.py:short"]}, "unknown-function"),
        ({"type": "distillation"}, "no-teacher"),
        ({"type": "distillation", "kind": "feature"}, "no-teacher"),
        ({"type": "grpo", "rewards": ["nowhere.py:short"]}, "unknown-function"),
        ({"type": "grpo", "rewards": ["mine.py:shrot"]}, "unknown-function"),
        ({"type": "grpo", "rewards": ["perplexity"]}, "reward-scorer"),
        ({"type": "grpo", "rewards": ["exact_macth"]}, "unknown-scorer"),
        ({"type": "grpo", "rewards": ["exact_match", "exact_match"]}, "same-reward"),
        ({"type": "ppo", "rewards": [{"model": "nowhere"}]}, "unknown-model"),
    ],
)
def test_a_plan_refuses_what_no_run_could_begin_with(
    method: dict[str, Any], code: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(SteadError) as found:
        make_plan(asked | {"method": method})

    assert found.value.code == code
    if code.startswith("no-"):
        assert found.value.hint
        assert found.value.hint.startswith("stead train ")


def test_a_plan_refuses_a_reward_model_that_is_an_ordinary_model(
    asked: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    method = {"type": "grpo", "rewards": [{"model": str(tiny_model)}]}

    with pytest.raises(SteadError, match=HEAD) as found:
        make_plan(asked | {"method": method})

    assert found.value.code == "no-reward-head"


@pytest.mark.parametrize(
    "method",
    [
        {"type": "grpo", "rewards": ["exact_match", "mine.py:short", "some.module:function"]},
        {"type": "rlaif", "judge": JUDGE},
        {"type": "distillation", "kind": "self"},
    ],
)
def test_a_plan_runs_no_code_of_a_reward(method: dict[str, Any], asked: dict[str, Any]) -> None:
    made = make_plan(asked | {"method": method})

    assert made.config.method.type == method["type"]
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    ("changed", "adapter", "refused"),
    [
        ({"model_type": "mamba"}, "prompt", True),
        ({"model_type": "rwkv"}, "prefix", True),
        ({"layer_types": ["conv", "full_attention"]}, "p_tuning", True),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "prefix", False),
        ({"kv_lora_rank": 8}, "prefix", True),
        ({"kv_lora_rank": 8}, "prompt", False),
        ({"model_type": "mamba"}, "full", False),
    ],
)
def test_a_plan_refuses_virtual_tokens_where_they_cannot_stand(
    changed: dict[str, Any], adapter: str, refused: bool, asked: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(asked["model"]["path"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))

    def made() -> None:
        make_plan(asked | {"model": {"path": str(folder)}, "adapter": adapter})

    if not refused:
        return made()
    with pytest.raises(ModelError, match="virtual tokens cannot stand") as found:
        made()
    assert found.value.code == "no-virtual-tokens"
