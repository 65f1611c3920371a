"""What must hold for every row a model learns from, checked on prepared rows by a second way.

Knows nothing about models. The mask is made from character spans (`data/spans`, `data/mask`); here it
is judged from the tokens back: the trained pieces are decoded and compared with the turns. What both
agree on is right; historic faults of other trainers (shifted masks, untrained end tokens, trained
prompts, doubled BOS, silent cuts) are each a finding.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from stead.core.lazy import lazy
from stead.data.pack import IGNORED as _IGNORED
from stead.data.pack import Batch
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import Message

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy("numpy", extra="data")

_THINK = re.compile(r"<think>.*</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Proof:
    """What one check found. `state`: passed, failed, allowed, switched or not-run."""

    name: str
    state: str
    message: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: its name, and what was seen."""

    rule: str
    text: str


RULES = {
    "nothing-trained": "no token of the row is trained",
    "answer-untrained": "a part of an assistant turn is not trained",
    "prompt-trained": "text that the model does not write is trained",
    "no-end-token": "an answer's end token is not trained, so the model does not learn to stop",
    "turn-dropped": "a turn is not in what the model sees",
    "double-bos": "the row begins with two BOS tokens",
    "not-the-template": "the tokens are not what tokenizer and template make of the row",
    "cut-silently": "the row was cut although no row was reported as cut",
}
TOLD = (
    "turn-dropped",
)  # by the model's own template: some do (Mistral v0.3); told, no reason to stop


@dataclass(frozen=True, slots=True)
class Turns:
    """A conversation as it is judged: turns from `first` on may be trained, all or the last one."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()  # Any: JSON schema of each function
    first: int = 0
    last_only: bool = False

    @property
    def trained(self) -> list[int]:
        """Which turns the model has to write."""
        found = [
            i for i, m in enumerate(self.messages) if m.role == "assistant" and i >= self.first
        ]
        return found[-1:] if self.last_only else found


@dataclass(frozen=True, slots=True)
class _Run:
    trained: bool
    ids: list[int]
    text: str  # without white space


class Judge:
    """Checks rows of one model's tokenizer and template."""

    def __init__(self, tokenizer: TextTokenizer, template: ChatTemplate) -> None:
        self._tokenizer, self._template = tokenizer, template
        self._stops = frozenset(tokenizer.stop_ids)

    def check(
        self, turns: Turns, ids: Sequence[int], mask: Sequence[int], *, cut: bool = False
    ) -> list[Finding]:
        """Return what is wrong with one row; `cut`: its end was left out on purpose.

        Shapes: ids and mask [T]; mask 1 = trained.
        """
        if not any(mask[1:]):
            return [Finding("nothing-trained", f"{len(ids)} tokens, none trained")]
        runs = self._runs(ids, mask)
        found = [*self._doubled(ids), *self._dropped(turns, runs, cut=cut)]
        wanted, answers = turns.trained, [r for r in runs if r.trained]
        if any(b - a == 1 for a, b in pairwise(wanted)):
            return found  # answers without anything between them cannot be told apart
        if len(answers) < len(wanted) and not cut:
            text = f"{len(answers)} trained pieces for {len(wanted)} assistant turns"
            return [*found, Finding("answer-untrained", text)]
        if len(answers) > len(wanted):
            text = f"{len(answers)} trained pieces for {len(wanted)} assistant turns"
            return [*found, Finding("prompt-trained", text)]
        for i, run in zip(wanted, answers, strict=False):
            is_cut = cut and run is answers[-1] and runs[-1] is run
            found += self._answer(turns, i, run, is_cut=is_cut)
        return found

    def encode(self, turns: Turns) -> list[int]:
        """Return the ids of the whole conversation as the template writes it."""
        return self._tokenizer.encode(self._template.render(turns.messages, turns.tools)).ids

    def _runs(self, ids: Sequence[int], mask: Sequence[int]) -> list[_Run]:
        runs = []
        for flag, group in groupby(zip(ids, mask, strict=True), key=lambda pair: bool(pair[1])):
            own = [int(one) for one, _ in group]
            runs.append(_Run(flag, own, _bare(self._tokenizer.decode(own, skip_special=False))))
        return runs

    def _doubled(self, ids: Sequence[int]) -> Iterator[Finding]:
        bos = self._tokenizer.bos_id
        if bos is not None and [int(i) for i in ids[:2]] == [bos, bos]:
            yield Finding("double-bos", f"{self._tokenizer.token(bos)!r} twice")

    def _dropped(self, turns: Turns, runs: list[_Run], *, cut: bool) -> Iterator[Finding]:
        if cut:
            return
        given = "\0".join(r.text for r in runs if not r.trained)
        trained = "\0".join(r.text for r in runs if r.trained)
        for message in turns.messages:
            text = _bare(message.text)
            if message.role in ("assistant", "tool") or not text or text in given:
                continue  # a template may write a tool's result in its own way
            rule = "prompt-trained" if text in trained else "turn-dropped"
            yield Finding(rule, f"the {message.role} turn {message.text[:60]!r}")

    def _answer(self, turns: Turns, i: int, run: _Run, *, is_cut: bool) -> Iterator[Finding]:
        message = turns.messages[i]
        text = _bare(_THINK.sub("", message.text))
        if message.reasoning and text == "":
            text = _bare(message.reasoning)
        at = run.text.find(text)
        if at < 0 and not (is_cut and _shares_end(run.text, text)):
            yield Finding("answer-untrained", f"of {message.text[:60]!r} only {run.text[:60]!r}")
            return
        before = run.text[: max(at, 0)]
        header = self._header(turns, i)
        if (before and header and (header.endswith(before) or header in before)) or (
            before and not header and not message.reasoning and not before.startswith("<think>")
        ):
            yield Finding("prompt-trained", f"{before[:60]!r} before {message.text[:40]!r}")
        if not is_cut and run.ids[-1] not in self._stops:
            last = self._tokenizer.token(run.ids[-1])
            yield Finding("no-end-token", f"{message.text[:40]!r} ends with {last!r}")

    def _header(self, turns: Turns, i: int) -> str:
        """Return what the template puts before an answer, without white space."""
        before = turns.messages[:i]
        plain = self._template.render(before, turns.tools)
        asked = self._template.render(before, turns.tools, add_generation_prompt=True)
        return _bare(asked[len(plain) :]) if asked.startswith(plain) else ""


def _bare(text: str) -> str:
    """Leave out what decoding a piece alone may change: white space, halves of characters."""
    return "".join(text.split()).replace("\ufffd", "")


def _shares_end(run: str, text: str) -> bool:
    """Say whether a cut answer's piece ends with the text's beginning."""
    return any(run.endswith(text[:n]) for n in range(min(len(run), len(text)), 0, -1))


def check_labels(batch: Batch, masks: "Sequence[np.ndarray[Any, Any]]") -> list[Finding]:
    """Check a flattened batch of whole rows against their masks.

    Each label is the next token of the same sequence and trained, and each trained token is a label
    but a sequence's first. Shapes: masks[i] is [length of row i].
    """
    found = []
    mask = np.concatenate(masks)
    starts, total = batch.starts, len(batch.tokens)
    first = np.zeros(total, dtype=bool)
    first[starts[:-1]] = True
    place = np.flatnonzero(batch.labels != _IGNORED)
    following = np.minimum(place + 1, total - 1)
    if bool(((place + 1 >= total) | first[following]).any()):
        found.append(Finding("label-across-rows", "a label is the first token of the next row"))
    elif bool((batch.labels[place] != batch.tokens[following]).any()):
        found.append(Finding("label-shifted", "a label is not the token that follows"))
    elif bool((mask[following] != 1).any()):
        found.append(Finding("label-untrained", "a label is a token that the mask leaves out"))
    wanted = int((mask == 1).sum() - (mask[first] == 1).sum())
    if len(place) != wanted:
        found.append(Finding("label-count", f"{len(place)} labels for {wanted} trained tokens"))
    expected = np.arange(total) - np.repeat(starts[:-1], np.diff(starts))
    if bool((batch.positions != expected).any()):
        found.append(Finding("positions", "positions do not begin at 0 in each row"))
    return found


def systematic(counts: Collection[bool]) -> bool:
    """Say whether a rule is broken so often that it is no oddity of single rows: one in five."""
    broken = sum(counts)
    return broken > 0 and broken * 5 >= len(counts)
