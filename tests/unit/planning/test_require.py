"""What a method cannot begin without is refused by the plan, before a model is loaded."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.models import adapter_folder

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
    (tmp_path / "torn.py").write_text("def short(completions")
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
        ({"type": "grpo", "rewards": ["torn.py:short"]}, "unknown-function"),
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


BY_COLUMNS = """
import math
from math import floor as imported
def here(completions, n, question, *args, references=None): ...
async def waits(completions, lvl): ...
def nested(completions, tests): ...
def default(completions, nowhere=3): ...
def everything(**columns): ...
@math.floor
def decorated(nowhere): ...
if math:
    def twice(nowhere): ...
def twice(nowhere): ...
def both(completion, nowhere): ...
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("waits", r"asks for 'lvl'.*columns: answer, level, n, question; .*did you mean 'level'"),
        ("nested", "'tests' is there, but holds no plain text"),
        ("both", "asks for 'completion' and 'nowhere'.*did you mean 'completions'"),
        *((name, "") for name in ("here", "default", "everything", "decorated", "twice", "imported")),
    ],
)  # fmt: skip
def test_a_plan_refuses_rewards_that_ask_for_columns_no_row_has(
    name: str, words: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    row = {"question": "two plus two", "answer": "four", "tests": [{"in": 1}]}
    more = ({"n": i, "level": i} if i else {"n": i} for i in range(4))  # not in the first row
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row | m) + "\n" for m in more))
    (tmp_path / "columns.py").write_text(BY_COLUMNS)
    wanted = asked | {"method": {"type": "grpo", "rewards": [f"columns.py:{name}"]}}

    if not words:
        assert make_plan(wanted).config.method.type == "grpo"
        return
    with pytest.raises(SteadError, match=words) as found:
        make_plan(wanted)

    assert found.value.code == "reward-column"
    assert found.value.hint == "stead data inspect rows.jsonl"


@pytest.mark.parametrize(
    ("reward", "refused"),
    [("exact_match", True), ("brevity", True), ("brevity:4-8", False), ("pattern:four", False)],
)
def test_a_plan_refuses_scorers_that_compare_where_no_row_has_an_answer(
    reward: str, refused: bool, asked: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "two plus two"}\n{"prompt": "a dog"}\n')
    wanted = asked | {"method": {"type": "grpo", "rewards": [{"scorer": reward}]}}

    if not refused:
        assert make_plan(wanted).config.method.type == "grpo"
        return
    with pytest.raises(
        SteadError, match=f"'{reward}' compares .* no row of 'rows.jsonl' has one"
    ) as found:
        make_plan(wanted)

    assert found.value.code == "reward-reference"


def test_a_plan_asks_no_judge_and_says_so(asked: dict[str, Any]) -> None:
    made = make_plan(asked | {"method": {"type": "rlaif", "judge": JUDGE}})

    assert any("'j' at http://127.0.0.1:1 was not asked" in note for note in made.notes)


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


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"adapter": {"type": "lora", "target_modules": ["q_prj"]}}, "unknown-target", "did you mean 'q_proj'"),
        ({"adapter": {"type": "adalora", "target_modules": ["nowhere"]}}, "unknown-target", "it has: "),
        ({"adapter": {"type": "ia3", "target_modules": ["k_prj"]}}, "unknown-target", "did you mean 'k_proj'"),
        ({"adapter": {"type": "lora", "target_modules": []}}, "bad-value", "should name a layer"),
        ({"out": "rows.jsonl"}, "not-a-folder", "is a file"),
        ({"out": "rows.jsonl/below/it"}, "not-a-folder", "is a file"),
        ({"trainer": {"learning_rat": 1}}, "unknown-key", "did you mean 'trainer.lr'"),
        ({"method": "reward", "evaluation": {"metrics": ["exact_match"]}}, "conflict", "evaluation.metrics asks for answers"),
        ({"method": "contrastive", "trainer": {"samples": {"prompts": ["x"]}}}, "conflict", "trainer.samples.prompts asks"),
        ({"method": {"type": "dpo", "loss": "ipo", "label_smoothing": 0.1}}, "bad-value", "method: label_smoothing"),
    ],
)  # fmt: skip
def test_a_plan_refuses_bad_settings_with_the_value(
    more: dict[str, Any], code: str, words: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(SteadError, match=words) as found:
        make_plan(asked | more)

    assert found.value.code == code


def test_a_plan_refuses_rows_that_leave_nothing_to_train(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    long = {"question": "two plus two " * 40, "answer": "four"}
    (tmp_path / "long.jsonl").write_text(json.dumps(long) + "\n")

    with pytest.raises(SteadError, match="1 no-answer-left") as found:
        make_plan(asked | {"data": {"path": "long.jsonl", "max_length": 16}})

    assert found.value.code == "nothing-to-train"
    assert found.value.hint == "stead train RECIPE --max-length auto"


def test_a_plan_refuses_an_adapter_as_the_base(asked: dict[str, Any], tmp_path: Path) -> None:
    adapter_folder(tmp_path / "mine", base=asked["model"]["path"])

    with pytest.raises(ModelError, match="is an adapter") as found:
        make_plan(asked | {"model": {"path": "mine"}})

    assert found.value.code == "not-a-base"
    assert found.value.hint == f"stead merge {tmp_path / 'mine'} --out mine-merged"


def test_a_plan_tells_that_the_out_folder_holds_a_finished_run(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "done" / "final").mkdir(parents=True)

    assert any("holds a finished run" in note for note in make_plan(asked | {"out": "done"}).notes)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, True),
        ({"adapter": {"type": "lora", "init": "pissa"}}, False),
        ({"trainer": {"neftune_alpha": 5.0}}, False),
        ({"adapter": "full"}, False),
        ({"data": {"path": "rows.jsonl"}}, False),
    ],
)
def test_a_plan_tells_that_views_begin_equal(
    more: dict[str, Any], told: bool, asked: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("".join(f"a text {i}\n" for i in range(12)))
    wanted = asked | {"data": {"path": "texts.txt"}, "method": "contrastive", "adapter": "lora"}

    made = make_plan(wanted | more)

    assert any("begin equal" in note for note in made.notes) is told
