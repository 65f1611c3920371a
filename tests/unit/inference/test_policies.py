"""Policies: who is asked first, by order, price, time, weight, share of users, and evaluation."""

import json
from collections import Counter
from pathlib import Path

import pytest

from stead.core.errors import ConfigError
from stead.inference.backends.echo import Echo
from stead.inference.candidate import Candidate
from stead.inference.policy import POLICIES, Seen, make
from stead.messages import Call, GenerateRequest, Message, Sampling, Usage

ECHO = Echo()


class PerToken:
    """Prices in picodollars per token."""

    def __init__(self, prompt, answer):
        self.prompt, self.answer = prompt, answer

    def cost(self, usage: Usage) -> int:
        return usage.prompt_tokens * self.prompt + usage.completion_tokens * self.answer


def candidates(*names, **prices):
    return [Candidate(n, n, ECHO, place="public", prices=prices.get(n)) for n in names]


def ask(text="hi", **more):
    return GenerateRequest(model="auto", messages=(Message("user", text),), **more)


def names(found):
    return [c.name for c in found]


def test_ordered_keeps_the_order() -> None:
    given = candidates("b", "a", "c")

    assert names(make("ordered").order(ask(), given)) == ["b", "a", "c"]


def test_cheapest_depends_on_prompt_and_answer() -> None:
    given = candidates(
        "unknown", "by_prompt", "by_answer", by_prompt=PerToken(10, 1), by_answer=PerToken(1, 10)
    )
    long = ask("word " * 400, sampling=Sampling(max_tokens=10))
    short = ask("hi", sampling=Sampling(max_tokens=500))
    here = Candidate("here", "m", ECHO, place="local")

    policy = make("cheapest")

    assert names(policy.order(long, given)) == ["by_answer", "by_prompt", "unknown"]
    assert names(policy.order(short, given)) == ["by_prompt", "by_answer", "unknown"]
    assert names(policy.order(short, [*given, here]))[0] == "here"


def test_fastest_measures_each_then_asks_the_fastest_and_explores() -> None:
    policy = make("fastest", explore=0.1, seed=3)
    given = candidates("slow", "quick")
    assert names(policy.order(ask(), given))[0] == "slow"  # neither is measured
    policy.note(Seen("slow", ok=True, seconds=2.0, first_s=1.0))
    assert names(policy.order(ask(), given))[0] == "quick"
    policy.note(Seen("quick", ok=True, seconds=0.5, first_s=0.1))

    first = Counter(names(policy.order(ask(), given))[0] for _ in range(1000))

    assert first["quick"] + first["slow"] == 1000
    assert 60 < first["slow"] < 140  # a tenth, four standard deviations


def test_fastest_leaves_who_fails_and_comes_back() -> None:
    policy = make("fastest", explore=0.0, failure_s=10.0, memory=0.5)
    given = candidates("a", "b")
    policy.note(Seen("a", ok=True, seconds=0.1))
    policy.note(Seen("b", ok=True, seconds=1.0))
    policy.note(Seen("a", ok=False, seconds=0.0))
    assert names(policy.order(ask(), given))[0] == "b"

    for _ in range(5):
        policy.note(Seen("a", ok=True, seconds=0.1))

    assert names(policy.order(ask(), given))[0] == "a"


def test_weighted_shares_by_weight_and_keeps_all_for_fallback() -> None:
    policy = make("weighted", weights={"a": 3, "b": 1, "never": 0})
    given = candidates("a", "b", "never")

    orders = [names(policy.order(ask(), given)) for _ in range(1000)]

    first = Counter(order[0] for order in orders)
    assert 690 < first["a"] < 810  # 750, four standard deviations
    assert first["never"] == 0
    assert all(sorted(order) == ["a", "b", "never"] and order[-1] == "never" for order in orders)


def test_canary_answers_its_share_of_users_and_always_the_same() -> None:
    policy = make("canary", candidate="new", share=0.2)
    given = candidates("new", "old")

    first = {f"u{i}": names(policy.order(ask(user=f"u{i}"), given))[0] for i in range(1000)}
    again = {u: names(policy.order(ask("other", user=u), given))[0] for u in first}

    assert first == again
    assert 150 < list(first.values()).count("new") < 250  # 200, four standard deviations
    by_call = [make("canary", share=1.0).order(ask(call=Call(id=str(i))), given) for i in range(3)]
    assert [names(order) for order in by_call] == [["old", "new"]] * 3  # the last one by default


def report(folder: Path, model: str, *, higher: bool = True, **metrics: float) -> str:
    folder.mkdir()
    rows = {k: {"value": v, "higher_is_better": higher} for k, v in metrics.items()}
    text = json.dumps({"metrics": rows, "model": model, "against": None, "n": 3})
    (folder / "report.json").write_text(text)
    return str(folder)


def test_by_evaluation_follows_the_users_own_reports(tmp_path: Path) -> None:
    compared = {
        "metrics": {"exact_match": {"base": 0.4, "tuned": 0.9, "higher_is_better": True}},
        "model": "/models/my-tuned",
        "against": "base-model",
        "n": 10,
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "report.json").write_text(json.dumps(compared))
    cloud = report(tmp_path / "two", "gpt", exact_match=0.7)
    given = candidates("unknown", "base-model", "gpt", "my-tuned")

    policy = make("by_evaluation", reports=(str(tmp_path / "one"), cloud))
    near = make("by_evaluation", reports=(str(tmp_path / "one"), cloud), within=0.25)

    assert names(policy.order(ask(), given)) == ["my-tuned", "gpt", "base-model", "unknown"]
    assert names(near.order(ask(), given)) == ["gpt", "my-tuned", "base-model", "unknown"]


def test_by_evaluation_knows_where_less_is_better_and_refuses_what_it_cannot_read(
    tmp_path: Path,
) -> None:
    a = report(tmp_path / "a", "a", higher=False, perplexity=9.0)
    b = report(tmp_path / "b", "b", higher=False, perplexity=4.0)

    policy = make("by_evaluation", reports=(a, b), metric="perplexity")

    assert names(policy.order(ask(), candidates("a", "b"))) == ["b", "a"]
    with pytest.raises(ConfigError, match="it has: perplexity") as raised:
        make("by_evaluation", reports=(a,), metric="bleu")
    assert raised.value.code == "no-score"


@pytest.mark.parametrize("name", POLICIES.names())
def test_every_policy_returns_every_candidate_once(name: str) -> None:
    given = candidates("a", "b", "c")
    policy = make(name)

    for _ in range(20):
        assert sorted(names(policy.order(ask(), given))) == ["a", "b", "c"]
    assert policy.order(ask(), []) == []
