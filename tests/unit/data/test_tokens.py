"""Tokens, masks and batches: exact borders, every row once, nothing but counters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core import seeds
from stead.core.errors import ModelError
from stead.data.mask import Masked, mask_tokens, trained_text, with_bos
from stead.data.pack import IGNORED, TokenStore, make_batch, permutation, plan_batches
from stead.data.store import ColumnWriter
from stead.data.tokenizer import Encoding, TextTokenizer


def test_offsets_cut_the_text_and_ids_decode_to_it(model):
    tokenizer = TextTokenizer.open(model)
    text = "héllo  <|im_end|>\n\n wörld 🙂"

    found = tokenizer.encode(text)

    assert tokenizer.decode(found.ids, skip_special=False) == text
    assert "".join(tokenizer.decode_pieces(found.ids)) == text
    assert found.offsets[0] == (0, 1)
    assert found.offsets[-1] == (len(text) - 1, len(text))
    assert tokenizer.id("<|im_end|>") in found.ids


def test_special_ids_and_stops_are_found(model, make_model, tmp_path):
    tokenizer = TextTokenizer.open(model)
    with_bos_rule = TextTokenizer.open(make_model(tmp_path / "bos", adds_bos=True))

    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2)
    assert tokenizer.stop_ids == (1, 4)  # eos, and the template's end of turn
    assert tokenizer.vocab_size == 261
    assert not tokenizer.adds_bos
    assert with_bos_rule.adds_bos
    assert with_bos_rule.encode("a").ids == tokenizer.encode("a").ids
    assert tokenizer.hash != with_bos_rule.hash


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"model": 3}'])
def test_a_folder_without_a_usable_tokenizer_is_a_typed_error(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)

    with pytest.raises(ModelError) as caught:
        TextTokenizer.open(tmp_path)

    assert caught.value.code == ("no-tokenizer" if content is None else "bad-tokenizer")


def test_a_token_that_straddles_space_is_trained_and_one_that_straddles_text_is_not():
    text = "ask: yes.no"
    encoding = Encoding([1, 2, 3, 4], [(0, 4), (4, 8), (8, 10), (10, 11)])

    found = mask_tokens(text, encoding, [(5, 9)], stop_ids={2})

    assert list(found.mask) == [0, 1, 0, 0]  # " yes" counts; ".n" would train the user's letter
    assert found.straddling == 1
    assert found.endless == 1


def test_a_planted_fault_in_the_mask_is_found():
    text = "q a end"
    encoding = Encoding([1, 2, 9], [(0, 1), (2, 3), (4, 7)])

    whole = mask_tokens(text, encoding, [(2, 7)], stop_ids={9})
    without_end = mask_tokens(text, encoding, [(2, 3)], stop_ids={9})
    silent = mask_tokens("qqqq", Encoding([1], [(0, 4)]), [(1, 2)], stop_ids={9})

    assert (whole.endless, whole.silent) == (0, 0)
    assert without_end.endless == 1
    assert silent.silent == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=12), st.data())
def test_trained_tokens_lie_in_spans_and_cover_them(pieces, data):
    text = "".join(pieces)
    ends = np.cumsum([len(p) for p in pieces]).tolist()
    offsets = list(zip([0, *ends[:-1]], ends, strict=True))
    low, high = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))

    found = mask_tokens(
        text, Encoding(list(range(len(pieces))), offsets), [(low, high)] if low < high else []
    )

    for (start, end), flag in zip(offsets, found.mask, strict=True):
        inside = low <= start and end <= high and low < high
        if inside:
            assert flag == 1
        if flag:
            outside = (
                text[start : max(start, min(low, end))] + text[min(end, max(high, start)) : end]
            )
            assert not outside.strip()


def test_bos_is_never_doubled():
    masked = Masked([5, 6], bytearray(b"\0\1"))

    once = with_bos(masked, 0)

    assert (once.ids, list(once.mask)) == ([0, 5, 6], [0, 0, 1])
    assert with_bos(once, 0) is once


def test_shown_text_marks_what_is_a_label():
    assert trained_text(["a", "b", "c"], [1, 1, 0]) == [("a", False), ("b", True), ("c", False)]


def store_of(tmp_path, sequences, block=None) -> TokenStore:
    with ColumnWriter(tmp_path / "train.tokens", block) as writer:
        for ids, mask in sequences:
            writer.add(Masked(ids, bytearray(mask)))
    return TokenStore(tmp_path, "train", "tokens")


def test_a_batch_is_rows_end_to_end_with_shifted_labels(tmp_path):
    store = store_of(
        tmp_path, [([1, 2, 3], [0, 0, 1]), ([7, 8], [1, 1]), ([4, 5, 6, 9], [0, 1, 0, 1])]
    )

    batch = make_batch(store, [2, 0])

    assert batch.tokens.tolist() == [4, 5, 6, 9, 1, 2, 3]
    assert batch.labels.tolist() == [5, IGNORED, 9, IGNORED, IGNORED, 3, IGNORED]
    assert batch.positions.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert batch.starts.tolist() == [0, 4, 7]
    assert batch.rows == (2, 0)
    assert (batch.tokens.dtype, batch.starts.dtype) == (np.int64, np.int32)
    assert store.lengths.tolist() == [3, 2, 4]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 23), min_size=1, max_size=20), st.integers(2, 9))
def test_blocks_hold_every_document_token_once_and_keep_documents_apart(
    tmp_path_factory, sizes, block
):
    documents, at = [], 0
    for size in sizes:
        documents.append(list(range(at, at + size)))
        at += size
    store = store_of(tmp_path_factory.mktemp("s"), [(d, b"\1" * len(d)) for d in documents], block)

    batch = make_batch(store, range(len(store)))

    assert batch.tokens.tolist() == list(range(at))
    assert set(store.lengths[:-1].tolist()) <= {block}
    first = {d[0] for d in documents} | set(range(0, at, block))
    assert set(batch.tokens[batch.starts[:-1]].tolist()) == first
    wanted = [IGNORED if t + 1 in first or t + 1 == at else t + 1 for t in range(at)]
    assert batch.labels.tolist() == wanted


@settings(max_examples=100, deadline=None)
@given(st.integers(-5, 2**40), st.integers(0, 50), st.integers(0, 300))
def test_the_vectorized_permutation_is_the_one_of_core(seed, epoch, n):
    assert permutation(seed, epoch, n).tolist() == seeds.permutation(seed, epoch, n)


@pytest.mark.spec("001-038")
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=200), st.integers(10, 100), st.integers(0, 9),
    st.booleans(),
)  # fmt: skip
def test_every_row_is_in_exactly_one_batch_within_the_budget(lengths, budget, epoch, shuffle):
    found = plan_batches(lengths, batch_tokens=budget, seed=1, epoch=epoch, shuffle=shuffle)

    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for batch in found:
        assert sum(lengths[i] for i in batch) <= budget or len(batch) == 1


def test_plans_are_pure_and_differ_by_epoch():
    lengths = np.arange(1, 500) % 37 + 1

    def plan(epoch):
        return [b.tolist() for b in plan_batches(lengths, batch_tokens=64, seed=3, epoch=epoch)]

    assert plan(0) == plan(0)
    assert plan(0) != plan(1)


@pytest.mark.spec("001-038")
def test_micro_batches_are_nearly_full():
    lengths = np.random.default_rng(0).integers(20, 300, 5000)

    found = plan_batches(lengths, batch_tokens=4096, seed=0, epoch=0)

    fill = lengths.sum() / (4096 * len(found))
    assert fill > 0.95


def test_rows_in_order_when_nothing_is_shuffled():
    found = plan_batches([1] * 7, batch_rows=3, seed=0, epoch=0, shuffle=False)

    assert [b.tolist() for b in found] == [[0, 1, 2], [3, 4, 5], [6]]
    with pytest.raises(ValueError, match="either"):
        plan_batches([1], seed=0, epoch=0)
