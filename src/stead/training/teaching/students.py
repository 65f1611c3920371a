"""Answers that a student writes itself while it is taught, and the check that both speak alike.

Knows nothing about the loss. Which rows are written anew is a function of (seed, step, row).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stead.core import seeds
from stead.core.errors import ModelError
from stead.core.lazy import lazy
from stead.data.tokenizer import TextTokenizer
from stead.data.tree import Masked, make_trees
from stead.messages import Sampling
from stead.training.method import Columns, Tools
from stead.values import LoadedModel

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")


class Answers:
    """Rows whose trained part the student writes anew at each step, sampled at temperature 1.

    What is before the first trained token is the prompt. Source: arXiv:2306.13649 algorithm 1.
    """

    COLUMN = "own"

    def __init__(self, tools: Tools, share: float, most: int) -> None:
        self._share, self._most = share, most
        self._stops = TextTokenizer.open(tools.loaded.folder).stop_ids

    def gather(self, tools: Tools, step: int, rows: Sequence[Sequence[int]]) -> list[Columns]:
        """Return the step's micro-batches: given answers as they are, own ones in their column."""
        chosen = [r for part in rows for r in part if self._is_own(tools.seed, step, r)]
        written = dict(zip(chosen, self._write(tools, step, chosen), strict=True))
        batches: list[Columns] = []
        for part in rows:
            given = [r for r in part if r not in written]
            own = [r for r in part if r in written]
            if given:
                batches += [tools.train.batch(p) for p in tools.train.deal(given, tools.lanes)]
            if own:
                parts = tools.train.deal(own, tools.lanes)
                batches += [{self.COLUMN: make_trees([[written[r]] for r in p], p)} for p in parts]
        return batches

    def _is_own(self, seed: int, step: int, row: int) -> bool:
        return seeds.stream(seed, step, f"own-answer-{row}") < self._share * (1 << 63)

    def _write(self, tools: Tools, step: int, rows: Sequence[int]) -> list[Masked]:
        if not rows:
            return []
        prompts = [self._prompt(tools, r) for r in rows]
        each = [[seeds.stream(tools.seed, step, f"own-tokens-{r}")] for r in rows]
        sampling = Sampling(temperature=1.0, max_tokens=self._most)
        answers = tools.write(prompts, each, sampling, self._stops)
        return [_row(prompt, found[0].ids) for prompt, found in zip(prompts, answers, strict=True)]

    def _prompt(self, tools: Tools, row: int) -> list[int]:
        store = next(iter(tools.train.stores.values()))
        trained = np.flatnonzero(np.asarray(store.mask(row)))
        first = max(1, int(trained[0]) if len(trained) else len(store.tokens(row)))
        return [int(i) for i in store.tokens(row)[:first]]


def _row(prompt: Sequence[int], answer: Sequence[int]) -> Masked:
    ids = np.array([*prompt, *answer], dtype=np.int64)
    return ids, np.array([0] * len(prompt) + [1] * len(answer), dtype=np.uint8)


def check_vocabulary(student: LoadedModel, teacher: LoadedModel) -> None:
    """Refuse a teacher whose ids mean other words; tables padded to another size are no matter.

    Raises: ModelError("teacher-vocabulary") with both sizes.
    """
    ours, theirs = (_words(m.tokenizer) for m in (student, teacher))
    if ours == theirs:
        return
    other = next((w for w, i in ours.items() if theirs.get(w) != i), None)
    why = (
        "" if other is None else f"; {other!r} is {ours[other]} here and {theirs.get(other)} there"
    )
    raise ModelError(
        "teacher-vocabulary",
        f"the teacher {str(teacher.folder)!r} has another vocabulary: {len(theirs)} words, "
        f"the student has {len(ours)}{why}",
    )


def _words(tokenizer: Any) -> dict[str, int]:  # Any: a transformers tokenizer
    return dict(tokenizer.get_vocab())
