"""Rewards: weights, columns, judges over a loopback endpoint, reward models."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.fakes import rl

from stead.core.errors import BackendError, ConfigError, TrainingError
from stead.messages import Message
from stead.models.heads import HEAD
from stead.models.layers import lowrank
from stead.training.methods.grpo import GRPOConfig
from stead.training.methods.rlaif import RLAIFConfig
from stead.training.rl.judge import Judge, JudgeSettings
from stead.training.rl.reward_source import Answered
from stead.training.rl.rewards import Rewards, RewardSpec
from stead.values import PreparedData


def answered(text: str, reference: str = "", **columns: Any) -> Answered:
    return Answered("rows.jsonl:7", (Message("user", "a question"),), text, reference, columns)


def opened(*specs: Any) -> Rewards:
    return Rewards.open([RewardSpec.model_validate(s) for s in specs], lambda _: None)


@contextmanager
def endpoint(reply: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Answer chat requests on loopback with `reply(text of the question)`, a number is a status; remember the requests."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(asked)
            text = reply(asked["messages"][-1]["content"])
            if isinstance(text, int):
                return self.say(text, {"error": {"message": "no"}})
            message = {"role": "assistant", "content": text}
            return self.say(200, {
                "id": "1", "object": "chat.completion", "created": 1, "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            })  # fmt: skip

        def do_GET(self) -> None:
            cards = [{"id": "judge-7b", "object": "model", "created": 1, "owned_by": "us"}]
            self.say(200, {"object": "list", "data": cards})

        def say(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_parts_are_weighted_and_added_up() -> None:
    rewards = opened("exact_match", {"function": "tests.fakes.rl:vowels", "weight": -2.0})

    total, parts = rewards.score([answered("aeio", "aeio"), answered("xyz", "abc")])

    assert parts == {"exact_match": [1.0, 0.0], "vowels": [1.0, 0.0]}
    assert total == [1.0 - 2.0, 0.0]


def test_a_weight_of_0_is_measured_and_does_not_count() -> None:
    total, parts = opened("exact_match", {"scorer": "contains", "weight": 0}).score(
        [answered("say b", "b")]
    )

    assert (total, parts["contains"]) == ([0.0], [1.0])


def test_a_function_gets_the_columns_it_names() -> None:
    rewards = opened({"function": "tests.fakes.rl:only_level_0"})

    total, _ = rewards.score([answered("aa", level=0), answered("aa", level=3)])

    assert total == [1.0, 0.0]


def test_a_function_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def f(completions, references):\n    return [len(r) for r in references]\n")

    total, _ = opened({"function": f"{path}:f"}).score([answered("x", "four")])

    assert total == [4.0]


def test_a_text_with_a_colon_is_a_function_and_one_that_raises_is_shown(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def boom(completions):\n    return [1 / 0]\n")
    spec = RewardSpec.model_validate(f"{tmp_path}/mine.py:boom")

    with pytest.raises(
        TrainingError, match=r"'boom' raised ZeroDivisionError in .*mine\.py:2"
    ) as caught:
        Rewards.open([spec], lambda _: None).score([Answered("rows:1", (), "text")])

    assert caught.value.code == "reward-raised"
    assert RewardSpec.model_validate("exact_match").scorer == "exact_match"


@pytest.mark.parametrize("spec", [{}, {"scorer": "f1", "function": "a:b"}, {"weight": 2}])
def test_a_reward_has_exactly_one_source(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one"):
        RewardSpec.model_validate(spec)


def test_a_judge_grades_and_sees_the_reference() -> None:
    with endpoint(lambda text: "Grade: 7.5" if "good one" in text else "0") as (url, seen):
        judge = {"url": url, "model": "j", "rubric": "Be strict."}

        total, _ = opened({"judge": judge}).score(
            [answered("a good one", "the truth"), answered("a bad one")]
        )

    assert total == [0.75, 0.0]
    texts = [r["messages"][0]["content"] for r in seen]
    assert sum("the truth" in t for t in texts) == 1
    assert all("Be strict." in t and "a question" in t for t in texts)
    assert {r["temperature"] for r in seen} == {0.0}


def test_grades_stay_between_0_and_1() -> None:
    with endpoint(lambda text: "99" if "high" in text else "-3") as (url, _):
        judge = Judge(JudgeSettings(url=url, model="j"))

        assert judge.grades([("q", "high", ""), ("q", "low", "")]) == [1.0, 0.0]


def test_a_judge_that_likes_a_position_is_cancelled_out() -> None:
    """Every second pair is shown in the other order, so "always A" wins half of each."""
    with endpoint(lambda _: "A") as (url, _):
        found = Judge(JudgeSettings(url=url, model="j")).prefers_first([("q", "x", "y", "")] * 4)

    assert found == [True, False, True, False]


def test_a_judge_without_a_grade_is_asked_again_and_then_stops_the_run() -> None:
    with endpoint(lambda _: "I would rather not say") as (url, seen):
        judge = Judge(JudgeSettings(url=url, model="j"))

        with pytest.raises(TrainingError, match="rather not") as found:
            judge.grades([("q", "a", "")])

    assert found.value.code == "judge-unclear"
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("status", "more", "code", "hint"),
    [
        (404, {}, "model-not-found", "stead train RECIPE -s method.judge.model=judge-7b"),
        (401, {}, "upstream-auth", "stead train RECIPE -s method.judge.token_env=NAME_OF_A_VARIABLE"),
        (403, {"token_env": "HOME"}, "upstream-auth", "export HOME=KEY"),
        (500, {}, "upstream-failed", "curl -sS {url}/v1/models"),
    ],
)  # fmt: skip
def test_a_judge_that_does_not_answer_is_told_before_the_model_is_loaded(
    status: int, more: dict[str, Any], code: str, hint: str
) -> None:
    with endpoint(lambda _: status) as (url, seen):
        config = RLAIFConfig(judge=JudgeSettings(url=url, model="jugde-7b", **more))

        with pytest.raises(BackendError, match=f"'jugde-7b' at {url} does not answer") as found:
            config.try_out(None)

    assert (found.value.code, found.value.hint) == (code, hint.format(url=url))
    assert len(seen) == 1


def test_a_judge_that_is_away_is_told_and_one_that_is_there_is_asked_once() -> None:
    away = GRPOConfig(rewards=({"judge": {"url": "http://127.0.0.1:1/v1", "model": "j"}},))
    with pytest.raises(BackendError) as found:
        away.try_out(None)
    with endpoint(lambda _: "hm") as (url, seen):
        GRPOConfig(rewards=({"judge": {"url": url, "model": "j"}},)).try_out(None)

    assert found.value.code == "connection-refused"
    assert found.value.hint == "curl -sS http://127.0.0.1:1/v1/models"
    assert len(seen) == 1


def test_a_key_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        Judge(JudgeSettings(url="http://127.0.0.1:1", model="j", token_env="NO_SUCH_KEY"))


@pytest.mark.parametrize(("labels", "group"), [("preference", 4), ("grade", 3)])
def test_rlaif_learns_what_the_judge_likes(
    labels: str, group: int, tiny_model: Path, tmp_path: Path
) -> None:
    data: PreparedData = rl.rows(tmp_path / "rows", tiny_model)

    def reply(text: str) -> str:
        halves = text.partition("Answer A:")[2].partition("Answer B:")
        if labels == "grade":
            answer = text.partition("Answer to grade:")[2].partition("Reply with")[0]
            return f"{10 * rl.vowels([answer])[0]:.2f}"
        return (
            "A" if rl.vowels([halves[0]]) >= rl.vowels([halves[2].partition("Reply")[0]]) else "B"
        )

    with endpoint(reply) as (url, _):
        more = {"judge": {"url": url, "model": "j"}, "labels": labels, "rewards": [],
                "num_generations": group}  # fmt: skip
        rl.run(tiny_model, data, tmp_path / "run", "rlaif", method_config=rl.config(**more),
               max_steps=3, adapter_config={"dropout": 0.0})  # fmt: skip

    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert all(x["grad_norm"] > 0 for x in lines)
    if labels == "preference":
        assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # log 2: nothing learnt yet
        assert {x["rewards/judge"] for x in lines} == {0.5}


@pytest.mark.parametrize(
    ("settings", "code"), [({}, "no-judge"), ({"num_generations": 3}, "odd-pairs")]
)
def test_rlaif_needs_a_judge_and_whole_pairs(
    settings: dict[str, Any], code: str, tiny_model: Path, tmp_path: Path
) -> None:
    judge = {"judge": {"url": "http://127.0.0.1:1", "model": "j"}} if settings else {}
    with pytest.raises(ConfigError) as found:
        rl.run(tiny_model, rl.rows(tmp_path / "rows", tiny_model), tmp_path / "run", "rlaif",
               method_config=rl.config(**judge, **settings, rewards=[]))  # fmt: skip

    assert found.value.code == code


@pytest.mark.spec("002-020")
def test_a_trained_reward_model_is_a_reward(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(tiny_model, folder)
    draw = torch.Generator().manual_seed(0)
    lowrank.write_tensors(folder / HEAD, {"weight": torch.randn(1, 64, generator=draw)}, {})
    data = rl.rows(tmp_path / "rows", tiny_model)

    rl.run(tiny_model, data, tmp_path / "run", "grpo", max_steps=1,
           method_config=rl.config(rewards=[{"model": str(folder)}]))  # fmt: skip

    line = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[0])
    assert line["rewards/judge_std"] > 0


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        ("return None", "returned None, not a list", "reward-not-numbers"),
        ("return 1.0", r"returned 1\.0, not a list", "reward-not-numbers"),
        ("return [None]", "returned None for row rows:1", "reward-not-numbers"),
        ("return ['1']", "returned '1' for row rows:1", "reward-not-numbers"),
        ("return (1 / 0 for _ in completions)", "raised ZeroDivisionError", "reward-raised"),
        ("raise SystemExit(3)", "raised SystemExit in", "reward-raised"),
        ("return {'a': 1}", "returned {'a': 1}, not a list", "reward-not-numbers"),
        ("return [[1, 2]]", r"returned \[1, 2\] for row rows:1", "reward-not-numbers"),
        (
            "import torch\n    return torch.zeros(1, 2)",
            r"returned tensor\(.*row rows:1",
            "reward-not-numbers",
        ),
        ("import torch\n    return torch.tensor(1.0)", r"returned tensor\(1", "reward-not-numbers"),
        ("return [10 ** 400]", "returned 10000.*row rows:1", "reward-not-numbers"),
    ],
)
def test_what_a_function_returned_is_said(tmp_path: Path, body: str, words: str, code: str) -> None:
    (tmp_path / "odd.py").write_text(f"def odd(completions):\n    {body}\n")
    rewards = Rewards.open([RewardSpec(function=f"{tmp_path}/odd.py:odd")], lambda _: None)

    with pytest.raises(TrainingError, match=words) as caught:
        rewards.score([Answered("rows:1", (), "text")])

    assert caught.value.code == code


def test_a_reward_that_is_no_function_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("value = 3\n")

    with pytest.raises(ConfigError, match="'value' is 3, no function"):
        Rewards.open([RewardSpec(function=f"{tmp_path}/odd.py:value")], lambda _: None)


def test_an_async_function_is_waited_for(tmp_path: Path) -> None:
    code = (
        "import asyncio\nasync def f(completions):\n    await asyncio.sleep(0)\n    return [2.0]\n"
    )
    (tmp_path / "later.py").write_text(code + "async def boom(completions):\n    return [1 / 0]\n")

    total, _ = opened(f"{tmp_path}/later.py:f").score([answered("x")])
    with pytest.raises(TrainingError, match=r"ZeroDivisionError in .*later\.py:6"):
        opened(f"{tmp_path}/later.py:boom").score([answered("x")])

    assert total == [2.0]


def test_what_a_function_changes_is_its_own(tmp_path: Path) -> None:
    """Two answers to one prompt share its cells, and so do two rewards."""
    code = "def f(completions, tags):\n    completions.clear()\n    return [len(t.append(1) or t) for t in tags]\n"
    (tmp_path / "rude.py").write_text(code)
    twice = [{"function": f"{tmp_path}/rude.py:f", "name": name} for name in ("a", "b")]
    tags = ["x"]

    _, parts = opened(*twice).score([answered("1", tags=tags), answered("2", tags=tags)])

    assert parts == {"a": [2.0, 2.0], "b": [2.0, 2.0]}
    assert tags == ["x"]


def test_a_column_that_only_other_rows_have_is_none(tmp_path: Path) -> None:
    code = (
        "def f(completions, rare, *more, often=1):\n    return [float(r is None) for r in rare]\n"
    )
    (tmp_path / "mine.py").write_text(code)
    spec = RewardSpec(function=f"{tmp_path}/mine.py:f")

    total, _ = Rewards.open([spec], lambda _: None, ["rare"]).score([answered("x", often=3)])

    assert total == [1.0]


@pytest.mark.parametrize("source", ["max", "f"])
def test_a_function_that_cannot_be_called_by_name_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "odd.py").write_text("from builtins import max\ndef f(completions, /): ...\n")

    with pytest.raises(ConfigError, match="cannot be called") as found:
        opened(f"{tmp_path}/odd.py:{source}")

    assert found.value.code == "unknown-function"


def test_a_run_tries_functions_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(completions, lvl): ...\n")
    config = GRPOConfig(rewards=(f"{tmp_path}/mine.py:f",))

    config.try_out(None)
    with pytest.raises(ConfigError, match="did you mean 'level'"):
        config.try_out(["level"])
