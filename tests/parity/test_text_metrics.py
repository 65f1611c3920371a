"""ROUGE and BLEU against the packages that define them, and against published examples."""

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from stead.scoring import scorer
from stead.scoring.rouge import lcs_length
from stead.scoring.scorer import Sample

ROUGES = ["rouge1", "rouge2", "rougeL"]
REFERENCE = rouge_scorer.RougeScorer(ROUGES, use_stemmer=False)
WORD = st.text(alphabet="abcd-'é1.", min_size=1, max_size=6)
TEXT = st.text(alphabet="ab cd-'é1.\n", min_size=0, max_size=60)
# https://github.com/google-research/google-research/tree/master/rouge, README
FOX = ("The quick brown fox jumps over the lazy dog", "The quick brown dog jumps on the log.")


@pytest.mark.spec("003-077")
@settings(max_examples=200)
@given(st.lists(WORD, min_size=4, max_size=20).map(" ".join), TEXT)
def test_rouge_equals_the_rouge_score_package(reference, answer):
    expected = REFERENCE.score("word two " + reference, answer)
    for name, each in scorer.create(ROUGES).items():
        found = each.score(Sample("", answer, "word two " + reference)).value
        assert found == pytest.approx(expected[name].fmeasure, abs=1e-9), name


@pytest.mark.spec("003-077")
def test_rouge_of_the_published_example():
    # Counted by hand: 6 of 9 and 8 unigrams, LCS "the quick brown jumps the" of length 5, 2 bigrams.
    values = {
        n: s.score(Sample("", FOX[1], FOX[0])).value for n, s in scorer.create(ROUGES).items()
    }

    assert values["rouge1"] == pytest.approx(2 * 6 / (9 + 8))
    assert values["rouge2"] == pytest.approx(2 * 2 / (8 + 7))
    assert values["rougeL"] == pytest.approx(2 * 5 / (9 + 8))


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_the_bit_parallel_subsequence_equals_the_table(left, right):
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            same = table[i][j] + 1
            table[i + 1][j + 1] = same if a == b else max(table[i][j + 1], table[i + 1][j])

    assert lcs_length(left, right) == table[-1][-1]


@pytest.mark.spec("003-078")
@given(st.lists(st.tuples(TEXT.filter(str.strip), TEXT), min_size=1, max_size=6))
def test_bleu_and_chrf_equal_sacrebleus_corpus_score(pairs):
    references, answers = [r for r, _ in pairs], [a for _, a in pairs]
    expected = {
        "bleu": sacrebleu.corpus_bleu(answers, [references], force=True).score,
        "chrf": sacrebleu.corpus_chrf(answers, [references]).score,
    }
    for name, each in scorer.create(["bleu", "chrf"]).items():
        scores = [each.score(Sample("", a, r)) for r, a in pairs]
        assert each.aggregate(scores) == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.spec("003-078")
def test_bleu_of_sacrebleus_own_documented_example():
    # README of sacrebleu, first reference stream; value by sacrebleu 2.x command line.
    answers = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    bleu = scorer.create(["bleu"])["bleu"]

    scores = [bleu.score(Sample("", a, r)) for a, r in zip(answers, references, strict=True)]

    assert bleu.aggregate(scores) == pytest.approx(45.0675, abs=1e-3)


@pytest.mark.spec("003-078")
def test_bleu_states_smoothing_and_brevity_penalty_and_applies_it():
    bleu = scorer.create(["bleu"])["bleu"]
    reference = "one two three four five six seven eight"
    short = bleu.aggregate([bleu.score(Sample("", "one two three four", reference))])

    assert "smooth:exp" in bleu.signature()
    assert "bp:exp(1-ref/hyp)" in bleu.signature()
    assert short == pytest.approx(100 * 2.718281828459045 ** (1 - 8 / 4))


def test_rouge_of_long_answers_is_quick():
    words = " ".join(f"w{i % 977}" for i in range(20_000))
    assert scorer.create(["rougeL"])["rougeL"].score(Sample("", words, words)).value == 1
