"""gemma.cpp: a wheel that prints to stdout, or a program per answer; both behind one dialect."""

import asyncio
import sys
from pathlib import Path

import pytest
from tests.fakes.sbs import write_sbs, write_tokenizer

from stead.app.engines import LocalModel, Wanted, choose
from stead.core.errors import BackendError, ModelError
from stead.core.lazy import installed
from stead.core.paths import Home
from stead.hub import sbs_file
from stead.hub.inspect import inspect
from stead.messages import GenerateRequest, Message, Sampling

WHEEL = Path(__file__).resolve().parents[2] / "fakes" / "engines" / "wheel"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "tokenizer.spm").write_bytes(b"spm")
    return write_small(tmp_path / "2b-it.sbs")


def write_small(path, layers=18):
    """Write a header whose blobs are all empty: what the description needs, without 3 GB to hash."""
    import struct

    names = [f"$gating_ein_{i}" for i in range(layers)]
    at = -(-(16 + 32 * len(names)) // 256) * 256
    data = struct.pack("<4sIQ", b"SBS\n", len(names), at)
    data += b"".join(n.encode().ljust(16, b"\0") for n in names)
    path.write_bytes((data + struct.pack("<QQ", at, 0) * len(names)).ljust(at, b"\0"))
    return path


@pytest.fixture
def wheel(put_program, monkeypatch):
    monkeypatch.syspath_prepend(str(WHEEL))
    monkeypatch.setenv("PYTHONPATH", f"{WHEEL}:{':'.join(p for p in sys.path if p)}")


def chat(*texts, **sampling):
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], t) for i, t in enumerate(texts))
    return GenerateRequest(model="g", messages=messages, sampling=Sampling(**sampling))


def talk(weights, home, work):
    async def run():
        engine, order = choose(Wanted(str(weights), name="g"), Home(home))
        assert engine == "gemma_cpp"
        local = LocalModel(engine, order, Home(home))
        try:
            return await work(local)
        finally:
            await local.close()

    return asyncio.run(run())


async def collect(stream):
    return [c async for c in stream]


@pytest.mark.spec("004-008")
def test_the_wheel_answers_whole_streamed_and_one_after_another(wheel, weights, home):
    async def work(g):
        both = await asyncio.gather(g.generate(chat("one")), g.generate(chat("two words")))
        chunks = await collect(g.stream(chat("three", "four", "five")))
        return both, chunks

    both, chunks = talk(weights, home, work)

    pid = both[0].text.split(" ")[1]
    assert [r.text for r in both] == [f"2b-it {pid} heard: one ", f"2b-it {pid} heard: two words "]
    joined = "".join(c.text for c in chunks)
    assert joined == (
        f"2b-it {pid} heard: three<end_of_turn>\n<start_of_turn>model\nfour<end_of_turn>\n"
        "<start_of_turn>user\nfive "
    )
    assert len(chunks) > 4
    assert [d.kind for d in both[0].deviations] == ["usage_estimated"]


def test_limits_and_stop_texts_end_the_answer_and_the_next_one_is_right(wheel, weights, home):
    async def work(g):
        short = await g.generate(chat("a b c d", max_tokens=2, temperature=0.3))
        stopped = await g.generate(chat("a b STOP d", stop=("STOP",)))
        return short, stopped, await g.generate(chat("after"))

    short, stopped, after = talk(weights, home, work)

    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)
    assert tuple(d.kind for d in short.deviations) == ("param_dropped", "usage_estimated")
    assert stopped.text.endswith("heard: a b ")
    assert stopped.choices[0].finish_reason == "stop"
    assert after.text.endswith("heard: after ")


def test_leaving_frees_the_model_for_the_next_request(wheel, weights, home):
    async def work(g):
        chunks = g.stream(chat("slow slow slow"))
        await anext(chunks)
        await chunks.aclose()
        async with asyncio.timeout(10):
            return (await g.generate(chat("next"))).text

    assert talk(weights, home, work).endswith("heard: next ")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (GenerateRequest(model="g", prompt="raw"), "upstream-refused"),
        (GenerateRequest(model="g", messages=(Message("user", "x"),), tools=({"type": "function", "function": {"name": "f"}},)), "upstream-refused"),
        (GenerateRequest(model="g", messages=(Message("user", "x"),), strict=True, sampling=Sampling(seed=1)), "deviation"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused(wheel, weights, home, request_, code):
    with pytest.raises(BackendError) as caught:
        talk(weights, home, lambda g: g.generate(request_))

    assert caught.value.details["status"] == 400 or caught.value.code == code


def test_a_wheel_that_dies_within_an_answer_is_an_error_and_starts_again(wheel, weights, home):
    async def work(g):
        with pytest.raises(BackendError):
            await g.generate(chat("die"))
        return (await g.generate(chat("again"))).text

    assert talk(weights, home, work).endswith("heard: again ")


def test_weights_that_end_the_wheel_are_a_typed_error(wheel, weights, home):
    torn = weights.rename(weights.parent / "torn-2b-it.sbs")

    with pytest.raises(ModelError) as caught:
        talk(torn, home, lambda g: g.generate(chat("x")))

    assert caught.value.code == "load-failed"


@pytest.mark.spec("004-033")
def test_a_program_is_started_for_each_answer_and_obeys_the_sampling(
    put_program, weights, home, monkeypatch
):
    path = put_program("gemma", "gemma_program.py")
    monkeypatch.setenv("STEAD_ENGINES_GEMMA", str(path))

    async def work(g):
        cold = await g.generate(chat("hi\nyou", temperature=0))
        warm = await g.generate(chat("hi", temperature=0.5, top_k=3))
        with pytest.raises(BackendError):
            await g.generate(chat("die"))
        return cold, warm, await g.generate(chat("a b c", max_tokens=3))

    cold, warm, short = talk(weights, home, work)

    assert cold.text == "k=1 t=None heard: hi\nyou"
    assert warm.text == "k=3 t=0.5 heard: hi"
    assert short.text == "k=None t=None heard:"
    assert [d.kind for d in warm.deviations] == ["usage_estimated"]


@pytest.mark.parametrize("damage", ["cut", "magic", "count", "layers"])
def test_a_damaged_file_is_refused_by_its_header(weights, home, damage):
    data = bytearray(weights.read_bytes())
    if damage == "layers":
        write_small(weights, layers=3)
    else:
        at = {"cut": 20, "magic": 0, "count": 4}[damage]
        data = data[:-1] if damage == "cut" else data[:at] + b"\xff" * 4 + data[at + 4 :]
        weights.write_bytes(data)

    with pytest.raises(ModelError):
        sbs_file.describe(weights, Home(home))


@pytest.mark.spec("004-033")
def test_the_layout_of_a_whole_file_is_read(tmp_path):
    header = sbs_file.read(write_sbs(tmp_path / "gemma-2b-pt.sbs"))

    assert header.layers == 18
    assert header.blobs["Bc_embedding"][1] == 256128 * 2048 * 2
    assert sbs_file.variant(tmp_path / "gemma-2b-pt.sbs", header) == "2b-pt"


def test_its_facts_come_from_the_header(weights, home):
    info = inspect(weights, home=Home(home))

    assert (info.kind, info.family, info.layers, info.has_tokenizer) == ("sbs", "gemma", 18, True)


@pytest.mark.slow
def test_the_real_wheel_reads_a_file_of_ours(tmp_path, home):
    """Needs pygemma and sentencepiece, 5 GB of memory and a minute; the answer is in the weights."""
    for library in ("pygemma", "sentencepiece"):
        if not installed(library):
            pytest.skip(f"not run: {library} is not installed")
    last = write_tokenizer(tmp_path / "tokenizer.spm")
    path = write_sbs(tmp_path / "2b-it.sbs", last=last)

    assert talk(path, home, lambda g: g.generate(chat("hi"))).text == "Hello from gemma"
