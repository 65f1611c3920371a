import math
from pathlib import Path

import pytest
import torch
import transformers

from stead.core.errors import Interrupted, ModelError
from stead.core.process import stop_requested
from stead.messages import Sampling
from stead.models.writing import generate as writing
from stead.models.writing.generate import generate, stream
from stead.models.writing.likelihood import embed, score
from stead.values import LoadedModel

GREEDY = Sampling(temperature=0, max_tokens=24)


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> LoadedModel:
    torch.set_num_threads(1)
    return load(tiny_model)


def load(folder, attention="sdpa"):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return LoadedModel(model, tokenizer, folder, torch.device("cpu"), torch.float32)


def prompts(count=7):
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(4, 300, (3 + 5 * i,), generator=draw).tolist() for i in range(count)]


def reference(loaded, ids, new=24, eos=None):
    out = loaded.model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=3,
    )
    return out[0, len(ids) :].tolist()


def test_greedy_answers_equal_transformers_token_by_token(loaded):
    asked = prompts()
    found = generate(loaded, asked, GREEDY)

    assert [list(f.ids) for f in found] == [reference(loaded, ids) for ids in asked]
    assert {f.finish_reason for f in found} == {"length"}


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_an_answer_does_not_depend_on_its_company(loaded, rows, monkeypatch):
    monkeypatch.setitem(writing.Batch.__init__.__globals__["_ROWS"], "cpu", rows)
    asked = prompts(9)
    samplings = [Sampling(temperature=0.9, seed=i, max_tokens=4 + 3 * i) for i in range(9)]

    together = generate(loaded, asked, samplings)
    alone = [generate(loaded, [p], s)[0] for p, s in zip(asked, samplings, strict=True)]

    assert together == alone


def test_a_stop_token_ends_a_row_and_is_not_part_of_it(loaded):
    free = generate(loaded, prompts(), GREEDY)
    stop = free[3].ids[5]
    found = generate(loaded, prompts(), GREEDY, stop_ids=[stop])

    for row, whole in zip(found, free, strict=True):
        cut = whole.ids.index(stop) if stop in whole.ids else len(whole.ids)
        assert row.ids == whole.ids[:cut]
        assert row.finish_reason == ("stop" if stop in whole.ids else "length")


def test_a_stop_string_cuts_the_text_wherever_tokens_end(loaded):
    whole = generate(loaded, prompts(1), GREEDY)[0]
    stop = whole.text[3:6]
    found = generate(loaded, prompts(1), Sampling(temperature=0, max_tokens=24, stop=(stop,)))[0]

    assert found.text == whole.text[: whole.text.index(stop)]
    assert found.finish_reason == "stop"


@pytest.mark.parametrize("stop", [(), ("zz-never",)])
def test_a_stream_is_the_same_answer_in_pieces(loaded, stop):
    sampling = Sampling(temperature=1.0, seed=5, max_tokens=40, logprobs=2, stop=stop)
    whole = generate(loaded, prompts(1), sampling)[0]
    pieces = list(stream(loaded, prompts(1)[0], sampling))

    assert "".join(p.text for p in pieces) == whole.text
    assert tuple(p.id for p in pieces if p.id is not None) == whole.ids
    assert tuple(p.logprob for p in pieces[:-1]) == pytest.approx(whole.logprobs, abs=1e-5)
    assert [p.finish_reason for p in pieces] == [None] * (len(pieces) - 1) + ["length"]


def test_a_closed_stream_stops_writing(loaded):
    calls = []
    pieces = stream(loaded, prompts(1)[0], GREEDY, halt=lambda: calls.append(1))
    next(pieces)
    pieces.close()

    assert len(calls) == 1


def test_log_probabilities_equal_those_of_the_whole_sequence(loaded):
    asked = prompts(4)
    found = generate(loaded, asked, Sampling(temperature=0, max_tokens=12, logprobs=3))
    rows = [p + list(f.ids) for p, f in zip(asked, found, strict=True)]
    expected = score(loaded, rows, [len(p) for p in asked])

    for row, values in zip(found, expected, strict=True):
        assert row.logprobs == pytest.approx(values, abs=1e-4)  # float32, other order of sums
        assert [t[0][0] for t in row.top] == list(row.ids)
        assert all(len(t) == 3 for t in row.top)


def test_scores_equal_a_plain_forward_pass(loaded):
    rows = [*prompts(6), [5, 6]]
    found = score(loaded, rows, 1)

    for ids, values in zip(rows, found, strict=True):
        logits = loaded.model(torch.tensor([ids])).logits[0].detach().double()
        plain = torch.log_softmax(logits, -1)
        expected = [float(plain[t - 1, ids[t]]) for t in range(1, len(ids))]
        assert values == pytest.approx(expected, abs=1e-5)


def test_scores_may_begin_anywhere_and_nothing_is_scored_of_one_token(loaded):
    whole = score(loaded, prompts(3), 1)
    tails = score(loaded, prompts(3), [2, 7, 3])

    for tail, values, start in zip(tails, whole, [2, 7, 3], strict=True):
        assert tail == pytest.approx(values[start - 1 :], abs=1e-5)
    assert score(loaded, [[5]], 1) == [[]]


def test_embeddings_are_unit_vectors_and_do_not_depend_on_company(loaded):
    together = embed(loaded, prompts(4))
    alone = [embed(loaded, [p])[0] for p in prompts(4)]

    for a, b in zip(together, alone, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
        assert math.fsum(v * v for v in a) == pytest.approx(1, abs=1e-5)


def test_the_model_is_given_back_as_it_was(loaded):
    loaded.model.train()
    generate(loaded, prompts(2), GREEDY)

    assert loaded.model.training
    loaded.model.eval()


def test_a_sliding_window_model_answers_as_transformers_does(tmp_path, tiny_model):
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=8, max_position_embeddings=128,
        bos_token_id=0, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    model = transformers.MistralForCausalLM(config).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model)
    windowed = LoadedModel(model, tokenizer, tiny_model, torch.device("cpu"), torch.float32)
    asked = prompts(4)
    found = generate(
        windowed, asked, [Sampling(temperature=0, max_tokens=6 + 6 * i) for i in range(4)]
    )

    expected = [reference(windowed, ids, new=6 + 6 * i) for i, ids in enumerate(asked)]
    assert [list(f.ids) for f in found] == expected


def test_a_prompt_that_fills_the_context_is_refused(loaded):
    with pytest.raises(ModelError, match="256 tokens does not fit") as caught:
        generate(loaded, [[5] * 256], GREEDY)
    assert caught.value.code == "prompt-length"
    with pytest.raises(ModelError):
        score(loaded, [[]], 1)


def test_answers_end_where_the_context_does(loaded):
    found = generate(loaded, [[5] * 250], Sampling(temperature=0))[0]

    assert len(found.ids) == 6
    assert found.finish_reason == "length"


def test_a_worker_asked_to_stop_stops_at_the_next_token(loaded):
    stop_requested.set()
    try:
        with pytest.raises(Interrupted):
            generate(loaded, prompts(1), GREEDY)
    finally:
        stop_requested.clear()
