"""Proofs on prepared rows: masks against the conversations, labels against the masks.

Knows nothing about weights; `data/proof` has the rules.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from stead.data import proof as rules
from stead.data.pack import IGNORED
from stead.data.prepare import read_rows
from stead.data.proof import Finding, Judge, Proof, Turns
from stead.data.row import Row
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.training.loop.parts import Parts

_CHECKED = 32  # rows whose masks are looked at


def check_masks(parts: Parts) -> Proof:
    """Look at the first conversations: is trained what the model has to write, and nothing else?"""
    folder = parts.loaded.folder
    listed = parts.prepared.path / "train.rows.jsonl"
    if parts.method.rollout:
        return Proof("mask", "not-run", "the model learns from answers that it writes itself")
    if (
        parts.prepared.kind in ("text", "prompts")
        or not listed.is_file()
        or not _has_tokenizer(folder)
    ):
        return Proof("mask", "not-run", "there are no conversations to look at")
    judge = _Rows(parts, Judge(TextTokenizer.open(folder), ChatTemplate.open(folder)))
    return judge.proof()


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file()


class _Rows:
    """Looks at the first rows of the training split, column by column."""

    def __init__(self, parts: Parts, judge: Judge) -> None:
        self.parts, self.judge = parts, judge
        meta = parts.prepared.meta
        self.last_only = meta.get("train_on") == "last" or parts.prepared.kind == "labelled"
        self.most = meta.get("max_length")
        self.reported = meta.get("facts", {}).get("counts", {}).get("truncated", 0)
        self.seen: dict[str, list[bool]] = {}
        self.first: dict[str, str] = {}
        self.cut = self.rows = 0

    def proof(self) -> Proof:
        """Check the rows and judge what was found."""
        for number, row in enumerate(islice(read_rows(self.parts.prepared, "train"), _CHECKED)):
            for name, turns in _turns(row, last_only=self.last_only).items():
                self._one(number, row, name, turns)
        often = [rule for rule, flags in self.seen.items() if rules.systematic(flags)]
        broken = {rule: self.first[rule] for rule in often if rule not in rules.TOLD}
        odd = sum(sum(flags) for flags in self.seen.values())
        figures = {"rows": float(self.rows), "cut": float(self.cut), "odd": float(odd)}
        if not broken:
            text = f"{self.rows} rows, {self.cut} of them cut"
            if odd:
                rule, place = next(iter(self.first.items()))
                text += f"; {odd} oddities, the first: {rules.RULES[rule]} ({place})"
            return Proof("mask", "passed", text, figures)
        told = "; ".join(f"{rules.RULES[rule]} ({text})" for rule, text in broken.items())
        return Proof("mask", "failed", f"the mask is wrong: {told}", figures)

    def _one(self, number: int, row: Row, name: str, turns: Turns) -> None:
        store = self.parts.train.stores[name]
        ids, mask = [int(i) for i in store.tokens(number)], [int(i) for i in store.mask(number)]
        cut = self.most is not None and len(ids) >= self.most
        self.rows += 1
        self.cut += cut
        found = [*self.judge.check(turns, ids, mask, cut=cut), *self._same(turns, ids, cut=cut)]
        names = {one.rule for one in found}
        system = any(m.role in ("system", "developer") for m in turns.messages)
        for rule in rules.RULES:
            if rule == "turn-dropped" and not system and rule not in names:
                continue  # templates that drop a turn drop the system's: count rows that have one
            self.seen.setdefault(rule, []).append(rule in names)
        for one in found:
            self.first.setdefault(one.rule, f"{row.where}: {one.text}")

    def _same(self, turns: Turns, ids: list[int], *, cut: bool) -> Iterator[Finding]:
        """Render the row again: a stale or altered store is not what the model will be asked."""
        whole = self.judge.encode(turns)
        if ids[:1] != whole[:1] and ids[1 : len(whole) + 1] == whole[: len(ids) - 1]:
            whole = [ids[0], *whole]  # BOS was put in front of the default template's text
        if whole[: len(ids)] != ids:
            yield Finding("not-the-template", f"{len(ids)} tokens, {len(whole)} when made again")
        elif len(whole) > len(ids) and not (cut and self.reported):
            yield Finding("cut-silently", f"{len(ids)} tokens of {len(whole)}")


def _turns(row: Row, *, last_only: bool) -> dict[str, Turns]:
    if row.kind != "preference":
        return {"tokens": Turns(row.messages, row.tools, 0, last_only)}
    first = len(row.messages)
    return {
        "chosen": Turns((*row.messages, *row.chosen), row.tools, first),
        "rejected": Turns((*row.messages, *row.rejected), row.tools, first),
    }


def check_row_labels(parts: Parts, rows: list[int]) -> Proof:
    """Check that labels are the tokens that follow, in the same row, where the mask says so."""
    if parts.prepared.kind == "prompts" or parts.method.rollout:
        return Proof("labels", "not-run", "prompts have no labels: the model writes the answers")
    if not rows:
        return Proof(
            "labels", "failed", "no row has a token to learn: this run would train on nothing"
        )
    found: list[Finding] = []
    count = 0
    for name, batch in parts.train.batch(rows).items():
        store = parts.train.stores[name]
        found += rules.check_labels(batch, [store.mask(r) for r in rows])
        count += int((batch.labels != IGNORED).sum())
    figures = {"labels": float(count)}
    if found:
        told = "; ".join(dict.fromkeys(one.text for one in found))
        return Proof("labels", "failed", f"the labels are wrong: {told}", figures)
    return Proof("labels", "passed", f"{count} labels in {len(rows)} rows", figures)
