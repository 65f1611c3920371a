import asyncio

import pytest

from stead.core.errors import DataError, EvaluationError
from stead.core.events import Progress
from stead.data.row import Row
from stead.evaluation import compare, speed
from stead.evaluation.benchmarks.rows import Rows
from stead.evaluation.evaluate import Asking, evaluate
from stead.inference.backend import Backend
from stead.messages import Choice, Chunk, Message, Reply, TokenLogprob, ToolCall, Usage
from stead.scoring import scorer, stats


class Scripted(Backend):
    """Answers from a function of the request; the fake stands at the seam."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []

    async def generate(self, request, deadline=None):
        self.requests.append(request)
        logprobs = (TokenLogprob("a", -1.0), TokenLogprob("b", -3.0)) if request.echo else ()
        message = Message(role="assistant", content=self.answer(request))
        return Reply(
            id="1", model="fake", created=0, choices=(Choice(0, message, "stop", logprobs),),
            usage=Usage(3, 2),
        )  # fmt: skip

    async def stream(self, request, deadline=None):
        yield Chunk(id="1", model="fake", created=0, role="assistant")
        for word in ["a", "b", "c", "d"]:
            await asyncio.sleep(0.002)
            yield Chunk(id="1", model="fake", created=0, text=word)
        yield Chunk(id="1", model="fake", created=0, finish_reason="stop")
        yield Chunk(id="1", model="fake", created=0, usage=Usage(3, 4))

    async def models(self):
        return []


def chat(i, answer="yes"):
    turns = (
        Message(role="user", content=f"question {i}"),
        Message(role="assistant", content=answer),
    )
    return Row("messages", f"rows.jsonl:{i}", turns)


def ask(rows, answer, metrics, **more):
    backend = Scripted(answer)
    benchmark = Rows(rows)
    outcome = asyncio.run(evaluate(benchmark, backend, scorer.create(metrics), **more))
    return outcome, backend


def test_the_prompt_is_every_turn_before_the_last_answer():
    turns = tuple(
        Message(role=r, content=c)
        for r, c in [
            ("system", "s"),
            ("user", "u1"),
            ("assistant", "a1"),
            ("user", "u2"),
            ("assistant", "a2"),
            ("user", "left over"),
        ]
    )
    outcome, backend = ask([Row("messages", "x:1", turns)], lambda r: "a2", ["exact_match"])

    assert [m.text for m in backend.requests[0].messages] == ["s", "u1", "a1", "u2"]
    assert outcome.items[0].reference == "a2"
    assert outcome.scores["exact_match"][0].value == 1


def test_a_preference_row_expects_the_chosen_answer():
    row = Row(
        "preference", "x:1", (Message(role="user", content="u"),),
        chosen=(Message(role="assistant", content="good"),),
        rejected=(Message(role="assistant", content="bad"),),
    )  # fmt: skip
    assert Rows([row]).items()[0].reference == "good"


def test_a_tool_call_is_compared_as_text():
    call = Message(role="assistant", tool_calls=(ToolCall("1", "find", '{"q": 1}'),))
    item = Rows([Row("messages", "x:1", (Message(role="user", content="u"), call))]).items()[0]

    assert item.reference == '{"name": "find", "arguments": {"q": 1}}'


def test_greedy_and_seeded_requests_are_the_same_at_every_run():
    _, first = ask([chat(1), chat(2)], lambda r: "", ["exact_match"], asking=Asking(9, 0.0, 4))
    _, again = ask([chat(1), chat(2)], lambda r: "", ["exact_match"], asking=Asking(9, 0.0, 4))

    assert first.requests == again.requests
    assert first.requests[0].sampling.temperature == 0
    assert first.requests[0].sampling.seed != first.requests[1].sampling.seed


@pytest.mark.spec("003-079")
def test_perplexity_asks_for_likelihoods_and_generates_nothing():
    outcome, backend = ask([Row("text", "t:1", text="some text")], lambda r: "", ["perplexity"])

    assert [r.sampling.max_tokens for r in backend.requests] == [0]
    assert backend.requests[0].echo
    assert outcome.scores["perplexity"][0].value == pytest.approx(2.718281828**2)


def test_a_metric_that_cannot_work_is_refused_before_the_first_question():
    backend = Scripted(lambda r: "1")
    with pytest.raises(EvaluationError, match=r"number_match cannot be computed for rows\.jsonl:2"):
        asyncio.run(
            evaluate(
                Rows([chat(1, "#### 5"), chat(2, "none")]), backend, scorer.create(["number_match"])
            )
        )
    assert backend.requests == []


def test_plain_text_has_no_answer_to_compare():
    with pytest.raises(EvaluationError, match="t:1 is plain text"):
        ask([Row("text", "t:1", text="x")], lambda r: "", ["f1"])


def test_rows_without_an_answer_are_named():
    with pytest.raises(DataError, match="x:7"):
        Rows([Row("messages", "x:7", (Message(role="user", content="u"),))])
    with pytest.raises(DataError) as caught:
        Rows([])
    assert caught.value.code == "no-rows"


def test_progress_counts_every_question_and_says_what_is_left():
    events = []
    ask([chat(i) for i in range(600)], lambda r: "yes", ["exact_match"], emit=events.append)
    steps = [e for e in events if isinstance(e, Progress)]

    assert [e.done for e in steps] == [512, 600]
    assert steps[-1].values["left_s"] == 0


@pytest.mark.spec("003-062", "003-080")
def test_base_and_tuned_answer_the_same_rows_and_the_difference_is_judged():
    rows = [chat(i) for i in range(60)]
    made = scorer.create(["exact_match", "perplexity"])
    base, asked_base = ask(rows, lambda r: "no", list(made))
    tuned, asked_tuned = ask(rows, lambda r: "yes", list(made))
    found = compare.compare(base, tuned, made)

    assert asked_base.requests == asked_tuned.requests
    exact = found["exact_match"]
    assert (exact["base"], exact["tuned"], exact["delta"], exact["n"]) == (0, 1, 1, 60)
    assert exact["verdict"] == "better"
    assert 0.9 < exact["ci_low"] < exact["ci_high"] == 1
    assert exact["p"] < 1e-10
    assert found["perplexity"]["verdict"] == "no difference shown"


def test_models_that_answered_different_rows_are_not_compared():
    made = scorer.create(["exact_match"])
    base, _ = ask([chat(1)], lambda r: "", list(made))
    tuned, _ = ask([chat(2)], lambda r: "", list(made))
    with pytest.raises(EvaluationError, match="different rows"):
        compare.compare(base, tuned, made)


@pytest.mark.parametrize(
    ("paired", "higher", "said"),
    [
        (stats.Paired(0.2, 0.1, 0.3, 0.001, ""), True, "better"),
        (stats.Paired(0.2, 0.1, 0.3, 0.001, ""), False, "worse"),
        (stats.Paired(-0.2, -0.3, -0.1, 0.001, ""), True, "worse"),
        (stats.Paired(0.2, -0.1, 0.3, 0.001, ""), True, "no difference shown"),
        (stats.Paired(0.2, 0.1, 0.3, 0.2, ""), True, "no difference shown"),
    ],
)
def test_a_verdict_needs_both_the_test_and_the_interval(paired, higher, said):
    assert compare.verdict(paired, higher) == said


def test_an_infinite_perplexity_is_null_in_the_numbers():
    class Never(Scripted):
        async def generate(self, request, deadline=None):
            reply = await super().generate(request, deadline)
            choice = Choice(0, reply.choices[0].message, "stop", (TokenLogprob("a", -900.0),))
            return Reply(id="1", model="fake", created=0, choices=(choice,))

    made = scorer.create(["perplexity"])
    outcome = asyncio.run(evaluate(Rows([chat(1), chat(2)]), Never(lambda r: ""), made))

    alone = compare.summarize(outcome, made)["perplexity"]
    assert (alone["value"], alone["ci_high"]) == (None, None)
    both = compare.compare(outcome, outcome, made)["perplexity"]
    assert (both["delta"], both["verdict"]) == (None, "no difference shown")


def test_speed_is_measured_from_the_stream():
    found = asyncio.run(speed.measure(Scripted(lambda r: ""), rounds=2, load_s=1.5))

    assert found.load_s == 1.5
    assert 0 < found.first_token_s < 1
    assert 0 < found.tokens_per_s < 3 / 0.006
    assert found.tokens == 8
