"""The Gateway's loop over tools, answers of a given shape, batches with failures, its numbers."""

import asyncio
import json
from typing import Literal

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

import stead
from stead.app.structured import response_format
from stead.app.tools import Tool
from stead.core.errors import BackendError, ConfigError
from stead.inference.backends.echo import Echo
from stead.inference.gather import replay
from stead.messages import Attempt, Choice, Message, Reply, ToolCall, Usage


class Scripted(Echo):
    """Gives the messages of a script, one per request; the last one again and again."""

    def __init__(self, *script):
        super().__init__()
        self.script = list(script)
        self.asked = []

    async def generate(self, request, deadline=None):
        self.asked.append(request)
        message = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(message, Exception):
            raise message
        reason = "tool_calls" if message.tool_calls else "stop"
        return Reply(
            id="x", model="m", created=0, choices=(Choice(0, message, reason),), usage=Usage(3, 2)
        )


def calls(*wanted):
    made = [ToolCall(f"c{i}", name, json.dumps(args)) for i, (name, args) in enumerate(wanted)]
    return Message("assistant", None, tool_calls=tuple(made))


def say(text):
    return Message("assistant", text)


def gateway(backend):
    return stead.Gateway("m", backend=backend)


def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: the first one
        b: the second one
    """
    return a + b


async def shout(text: str) -> dict[str, str]:
    """Say it loudly."""
    if not text:
        raise ValueError("nothing to say")
    return {"loud": text.upper()}


def test_a_functions_signature_and_docstring_are_its_schema():
    def pick(color: Literal["red", "blue"], sizes: list[int], deep: bool = False) -> str:
        """Pick one.

        :param color: which color
        """

    made = Tool(pick).schema()["function"]

    assert Tool(add).schema()["function"] == {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "required": ["a"],
            "properties": {
                "a": {"type": "integer", "description": "the first one"},
                "b": {"type": "integer", "description": "the second one", "default": 1},
            },
        },
    }
    assert made["parameters"]["properties"]["color"]["enum"] == ["red", "blue"]
    assert made["parameters"]["properties"]["color"]["description"] == "which color"
    assert made["parameters"]["required"] == ["color", "sizes"]


def test_tools_are_called_side_by_side_and_their_results_told_in_order():
    backend = Scripted(calls(("add", {"a": 2, "b": 3}), ("shout", {"text": "hi"})), say("5 and HI"))

    reply = gateway(backend).sync.generate("go", tools=[add, shout], temperature=0)

    told = backend.asked[1].messages
    assert reply.text == "5 and HI"
    assert [m.role for m in told] == ["user", "assistant", "tool", "tool"]
    assert [(m.tool_call_id, m.content) for m in told[2:]] == [("c0", "5"), ("c1", '{"loud":"HI"}')]
    assert [t["function"]["name"] for t in backend.asked[0].tools] == ["add", "shout"]
    assert reply.usage.total_tokens == 10  # of both rounds
    assert backend.asked[1].sampling.temperature == 0


class Streamed(Scripted):
    """The same script, piece by piece, three letters each."""

    async def stream(self, request, deadline=None):
        for chunk in replay(await self.generate(request, deadline)):
            if len(chunk.text) > 3:
                for i in range(0, len(chunk.text), 3):
                    calls = chunk.tool_calls if i == 0 else ()
                    yield replace(chunk, text=chunk.text[i : i + 3], tool_calls=calls)
            else:
                yield chunk


def test_a_streams_functions_are_called_and_its_pieces_are_those_of_every_round():
    backend = Streamed(
        replace(calls(("add", {"a": 2, "b": 3}), ("shout", {"text": "hi"})), content="Wait. "),
        calls(("add", {"a": 5})),
        say("It is 6."),
    )

    async def run():
        async with gateway(backend) as g:
            return [c async for c in g.stream("?", tools=[add, shout])], g.stats()

    chunks, stats = asyncio.run(run())

    assert "".join(c.text for c in chunks) == "Wait. It is 6."
    assert [(d.index, d.name) for c in chunks for d in c.tool_calls] == [
        (0, "add"), (1, "shout"), (2, "add"),
    ]  # fmt: skip
    assert [c.finish_reason for c in chunks if c.finish_reason is not None] == ["stop"]
    assert [c.usage for c in chunks if c.usage is not None] == [Usage(9, 6)]
    assert [m.content for m in backend.asked[-1].messages if m.role == "tool"] == [
        "5", '{"loud":"HI"}', "6",
    ]  # fmt: skip
    assert stats.requests == 3


def test_a_stream_that_never_stops_calling_is_ended():
    async def run():
        async with gateway(Streamed(calls(("add", {"a": 1})))) as g:
            return [c async for c in g.stream("?", tools=[add], max_rounds=2)]

    with pytest.raises(BackendError) as caught:
        asyncio.run(run())

    assert caught.value.code == "too-many-rounds"


def test_a_batch_calls_functions_too():
    async def run():
        async with gateway(Scripted(calls(("add", {"a": 2})), say("3"))) as g:
            return await g.batch(["?"], tools=[add])

    assert [r.text for r in asyncio.run(run())] == ["3"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("add", {"a": "x"}), "arguments are wrong"),
        (("add", {"a": 1, "c": 1}), "arguments are wrong"),
        (("shout", {"text": ""}), "ValueError: nothing to say"),
        (("rm_rf", {}), "there is no tool 'rm_rf'"),
    ],
)
def test_what_goes_wrong_in_a_tool_is_told_to_the_model(call, words):
    backend = Scripted(calls(call), say("sorry"))

    reply = gateway(backend).sync.generate("go", tools=[add, shout])

    assert reply.text == "sorry"
    assert words in backend.asked[1].messages[-1].content


def test_the_rounds_are_bounded():
    backend = Scripted(calls(("add", {"a": 1})))

    with pytest.raises(BackendError) as error:
        gateway(backend).sync.generate("go", tools=[add], max_rounds=3)

    assert error.value.code == "too-many-rounds"
    assert len(backend.asked) == 3


def test_schemas_are_passed_on_and_not_called():
    backend = Scripted(calls(("add", {"a": 1})))
    schema = Tool(add).schema()

    reply = gateway(backend).sync.generate("go", tools=[schema])

    assert reply.choices[0].message.tool_calls[0].name == "add"
    assert backend.asked[0].tools == (schema,)
    with pytest.raises(ConfigError, match="functions"):
        gateway(backend).sync.generate("go", tools=[schema, add])


class City(BaseModel):
    """A city."""

    name: str
    people: int


def test_an_answer_of_a_given_shape_is_checked_and_mended_once():
    good = '{"name": "Bern", "people": 140000}'
    at_once, mended = (
        Scripted(say(good)),
        Scripted(say('{"name": "Bern"}'), say(f"```json\n{good}\n```")),
    )

    first = gateway(at_once).sync.generate("a city", output=City)
    second = gateway(mended).sync.generate("a city", output=City)

    form = at_once.asked[0].response_format["json_schema"]
    assert first == second == City(name="Bern", people=140000)
    assert (form["name"], form["strict"]) == ("City", True)
    assert form["schema"]["additionalProperties"] is False
    assert "people: Field required" in mended.asked[1].messages[-1].content


def test_an_answer_that_never_fits_is_a_typed_error():
    backend = Scripted(say("no"))

    with pytest.raises(BackendError) as error:
        gateway(backend).sync.generate("a city", output=City)

    assert error.value.code == "bad-output"
    assert len(backend.asked) == 2


def test_strict_is_not_said_where_a_field_may_be_left_out():
    class Inner(BaseModel):
        x: int = 0

    class Outer(BaseModel):
        inner: Inner

    made = response_format(Outer)["json_schema"]

    assert made["strict"] is False
    assert made["schema"]["$defs"]["Inner"]["additionalProperties"] is False


def test_tools_and_a_shape_go_together():
    backend = Scripted(calls(("add", {"a": 1})), say('{"name": "Bern", "people": 2}'))

    assert gateway(backend).sync.generate("go", tools=[add], output=City).people == 2


def test_a_batch_keeps_its_order_and_returns_failures_in_their_places():
    class Picky(Echo):
        async def generate(self, request, deadline=None):
            if request.messages[-1].text == "b":
                raise BackendError("upstream-failed", "no")
            return await super().generate(request, deadline)

    door = gateway(Picky()).sync

    found = door.batch(["a", "b", "c"], errors="return", parallel=1)

    assert [getattr(r, "text", None) for r in found] == ["a", None, "c"]
    assert found[1].code == "upstream-failed"
    with pytest.raises(BackendError):
        door.batch(["a", "b"])


class Paid(Echo):
    async def generate(self, request, deadline=None):
        request.call.attempts.append(Attempt(candidate="c", model="m", outcome="ok", cost=7))
        return await super().generate(request, deadline)


@pytest.mark.spec("004-066")
def test_stats_add_up_requests_tokens_money_and_seconds():
    door = gateway(Paid())

    door.sync.generate("one two", tags=["urgent"])
    list(door.sync.stream("one two three"))
    with pytest.raises(ConfigError):
        door.sync.generate("x", nonsense=1)

    found = door.stats()
    assert (found.requests, found.failed, found.active) == (2, 0, 0)
    assert (found.prompt_tokens, found.completion_tokens, found.cost) == (5, 5, 7)
    assert found.models["m"].mean_s == found.mean_s > 0
    assert found.streams == 1


def test_the_rounds_of_one_request_are_paid_once_each():
    class Priced(Scripted):
        async def generate(self, request, deadline=None):
            request.call.attempts.append(Attempt(candidate="c", model="m", outcome="ok", cost=7))
            return await super().generate(request, deadline)

    door = gateway(Priced(calls(("add", {"a": 1})), say("2")))

    door.sync.generate("?", tools=[add])

    assert (door.stats().requests, door.stats().cost) == (2, 14)


@pytest.mark.spec("004-023", "004-067")
def test_every_request_at_work_is_known_by_id_model_start_and_state():
    async def run():
        async with gateway(Echo(delay_s=0.05)) as door:
            stream = door.stream("a b c d")
            whole = asyncio.create_task(door.generate("a b c"))
            await anext(stream)
            during = door.active()
            await stream.aclose()
            await whole
            return during, door.active()

    during, after = asyncio.run(run())

    assert sorted((a.kind, a.model, a.state) for a in during) == [
        ("generate", "m", "waiting"),
        ("stream", "m", "streaming"),
    ]
    assert len({a.id for a in during}) == 2
    assert all(a.seconds > 0 for a in during)
    assert after == []
