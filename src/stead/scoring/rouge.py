"""ROUGE: overlap of word sequences between an answer and a reference, as F-measure.

Knows nothing about corpora. Equal to the rouge-score package to rounding, without its libraries.
Source: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, sections 2 and 3.
"""

from collections import Counter
from collections.abc import Sequence

from stead.scoring.scorer import Sample, Score, failed
from stead.scoring.text import rouge_tokens

_SHORT = "exact_match,rouge1,rougeL"  # these can judge a reference of one word
SIGNATURE = "f-measure|tok:a-z0-9|case:lc|stem:no"


def ngram_score(metric: str, sample: Sample, n: int) -> Score:
    """Score by common n-grams, counted with repeats.

    Raises: EvaluationError("metric-failed") when the reference has none (also: a language that
    ROUGE's a-z tokens do not see), because 0 would then say nothing about the answer.
    """
    reference, answer = _grams(sample.reference, n), _grams(sample.answer, n)
    if not reference:
        raise failed(
            metric, sample, f"the reference has fewer than {n} words of a-z or 0-9", instead=_SHORT
        )
    common = (reference & answer).total()
    return Score(_f_measure(common, answer.total(), reference.total()))


def lcs_score(metric: str, sample: Sample) -> Score:
    """Score by the longest common subsequence of words. Raises: as `ngram_score`."""
    reference, answer = rouge_tokens(sample.reference), rouge_tokens(sample.answer)
    if not reference:
        raise failed(metric, sample, "the reference has no word of a-z or 0-9")
    return Score(_f_measure(lcs_length(reference, answer), len(answer), len(reference)))


def lcs_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel: one machine operation handles a whole row of the table, so long answers stay fast.
    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004, section 3.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(left)) - 1
    row = full
    for word in right:
        hit = row & places.get(word, 0)
        row = (row + hit | row - hit) & full
    return len(left) - row.bit_count()


def _grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    words = rouge_tokens(text)
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def _f_measure(common: int, answered: int, expected: int) -> float:
    if common == 0:
        return 0.0
    precision, recall = common / answered, common / expected
    return 2 * precision * recall / (precision + recall)
