"""Guessed tokens: taken from the row's own words, checked, and without effect on any answer."""

import asyncio
import random

import pytest
import torch

from stead.engines.engine import Order
from stead.messages import GenerateRequest, Sampling
from stead.models.load import load_model
from stead.models.writing.draft import Draft
from stead.models.writing.local import LocalBackend
from stead.models.writing.panels import Panels
from stead.models.writing.served import Serving
from stead.worker.generate import app

REPEATS = "the quick brown fox jumps over the lazy dog. " * 4
NUMBERS = {"type": "array", "items": {"enum": [10, 20, 30]}, "minItems": 6, "maxItems": 9}
JSON = {"type": "json_schema", "json_schema": {"name": "numbers", "schema": NUMBERS}}
ASKED = [
    *(Sampling(temperature=0, max_tokens=n, logprobs=2) for n in (1, 2, 3, 60)),
    Sampling(temperature=0, max_tokens=32, stop=("x", "qu", "ing")),
    Sampling(temperature=0, max_tokens=32, repeat_penalty=1.05, frequency_penalty=0.01),
    Sampling(temperature=0, max_tokens=32, logit_bias={"40": 3.0}, n=2),
    Sampling(temperature=0.05, max_tokens=32, seed=4),
    Sampling(temperature=0.02, top_p=0.9, top_k=20, max_tokens=32, seed=5, logprobs=0),
    Sampling(temperature=1.0, max_tokens=32, seed=6, n=3),
]


def make(tiny_model, **serving):
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    return LocalBackend.of(loaded, name="m", serving=Serving(**serving))


def ask(text, sampling, **more):
    return GenerateRequest(model="m", prompt=text, sampling=sampling, **more)


def rows_round_alike() -> bool:
    """Say whether a row of torch's product has the same bits among two rows and among sixteen."""
    weight, rows = torch.randn(128, 64), torch.randn(16, 64)
    whole = torch.mm(weight, rows.t()).t()
    return all(torch.equal(torch.mm(weight, rows[:n].t()).t(), whole[:n]) for n in range(2, 16))


def one_by_one(backend, requests):
    return [asyncio.run(backend.generate(r)).choices for r in requests]


@pytest.mark.parametrize("panel_bytes", [1 << 30, 0])
def test_guesses_change_no_bit_of_any_answer(tiny_model, panel_bytes):
    with_guesses = make(tiny_model, exact=True, panel_bytes=panel_bytes)
    if panel_bytes == 0 and not rows_round_alike():
        pytest.skip(
            "this processor's plain product rounds a row by how many there are: only panels keep bits"
        )
    without = make(tiny_model, exact=True, panel_bytes=panel_bytes, speculate=False)
    requests = [ask(text, s) for s in ASKED for text in ("a small model", REPEATS)]
    forced = ask("count: ", Sampling(temperature=0, max_tokens=80), response_format=JSON)

    found, wanted = one_by_one(with_guesses, requests), one_by_one(without, requests)
    pair = asyncio.run(with_guesses.batch(requests[6:8]))

    assert found == wanted
    assert [r.choices for r in pair] == wanted[6:8]
    assert one_by_one(with_guesses, [forced]) == one_by_one(without, [forced])
    assert with_guesses.guesses.accepted > 60
    assert without.guesses.drafted == 0


def test_greedy_answers_are_the_same_with_the_faster_product_of_one_row(tiny_model):
    """Tolerance: none on the text; only a tie of two tokens within float32 rounding could differ."""
    with_guesses, without = make(tiny_model), make(tiny_model, speculate=False)
    words = REPEATS.split()
    seeds = [random.Random(i) for i in range(16)]
    requests = [
        ask(" ".join(r.choices(words, k=12)), Sampling(temperature=0, max_tokens=32)) for r in seeds
    ]

    assert one_by_one(with_guesses, requests) == one_by_one(without, requests)
    assert with_guesses.guesses.accepted > 50


def test_a_stream_brings_several_tokens_at_once_and_loses_none(tiny_model):
    backend = make(tiny_model)
    request = ask(REPEATS, Sampling(temperature=0, max_tokens=90, logprobs=0))

    async def chunks():
        return [c async for c in backend.stream(request)]

    found = asyncio.run(chunks())
    (whole,) = one_by_one(backend, [request])[0]

    assert "".join(c.text for c in found) == whole.message.text
    assert tuple(p for c in found for p in c.logprobs) == whole.logprobs
    assert max(len(c.logprobs) for c in found) > 1


def test_a_guess_is_what_came_after_the_same_words_and_repeats_itself():
    prompt = [1, 2, 3, 4, 5, 6, 7, 1, 2]

    assert Draft().guess(prompt, [3, 4], most=9) == [5, 6, 7, 1]
    assert Draft().guess(prompt, [3, 4], most=2) == [5, 6]
    assert Draft().guess([8, 9, 8, 9], [8, 9], most=3) == [8, 9, 8]
    assert Draft().guess([1, 2, 3], [4], most=9) == []


def test_right_guesses_grow_and_wrong_ones_grow_rare():
    eager, wary = Draft(), Draft()
    prompt, answer = [1, 2] * 8, []
    sizes, tried = [], 0
    for _ in range(4):
        guess = eager.guess(prompt, answer, most=99)
        eager.judge(len(guess), len(guess))
        sizes.append(len(guess))
        answer += guess
    for step in range(1000):
        guess = wary.guess(prompt, [1, 2] * step, most=99)
        tried += bool(guess)
        if guess:
            wary.judge(len(guess), 0)

    assert sizes == [4, 8, 15, 15]
    assert tried < 25  # of 1,000: 2 to 3 %, each of which costs a third of a step


@pytest.mark.parametrize(("outputs", "inputs"), [(96, 64), (512, 1536), (1000, 520)])
def test_a_product_of_two_rows_or_more_has_the_same_bits_for_each_row(outputs, inputs):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(outputs, inputs, generator=generator)
    x = torch.randn(64, inputs, generator=generator)
    panels = Panels([matrix], 1 << 30)

    whole = panels.times(x, matrix)
    parts = [panels.times(x[:rows].clone(), matrix) for rows in (2, 3, 4, 7, 8, 15, 16, 17, 33)]

    assert all(torch.equal(part, whole[: len(part)]) for part in parts)
    torch.testing.assert_close(whole, x @ matrix.t(), rtol=1e-4, atol=1e-4)  # float32 sums of 1,536
    assert not Panels([matrix], matrix.nbytes - 1)
    assert not Panels([matrix.bfloat16()], 1 << 30)


@pytest.mark.parametrize("speculate", [True, False])
def test_the_engine_obeys_the_switch_and_counts_guesses_in_its_metrics(tiny_model, speculate):
    served = app(Order(model=str(tiny_model), name="m", speculate=speculate), "token")

    asyncio.run(served._backend.generate(ask(REPEATS, Sampling(temperature=0, max_tokens=40))))

    shown = served.measured.metrics.render()
    assert ('stead_draft_tokens{outcome="accepted"} 0\n' not in shown) is speculate
    assert 'stead_draft_tokens{outcome="drafted"}' in shown
