"""Seeded generator of the demo task: a customer's free-text message -> a strict one-line JSON ticket.

    python tickets.py OUT_DIR --train 2000 --test 250 --seed 7

Writes train.jsonl and test.jsonl as {"messages": [user, assistant]} rows. Splits: "train"; "test" (every name, product word,
code, city, date and amount from the disjoint "test" world, phrasings as in training or held out in equal parts);
"test_seen" and "test_held" (only the one or the other). Standard library only. The messages are synthetic: a score here says
that the fine-tuning works, not how a model would do on real mail.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

import entities
import phrases

CHOICE = re.compile(r"\[([^\[\]]*)\]")
MOODS = {"urgent": phrases.URGENT, "relaxed": phrases.RELAXED}
Row = dict[str, list[dict[str, str]]]


class Writer:
    """Draws phrasings and entities for one split."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self.rng = rng
        self.world = "train" if split == "train" else "test"
        # Made-up words leave nothing to learn by heart: most training names have to be copied.
        self.invented = 0.5 if split == "train" else 0.0
        self.held = {"train": 0.0, "test_seen": 0.0, "test": 0.5, "test_held": 1.0}[split]

    def pick(self, pool: phrases.Pool) -> str:
        """A sentence of a pool with its choices made and its slots open."""
        text = self.rng.choice(pool[1] if self.rng.random() < self.held else pool[0])
        while found := CHOICE.search(text):
            text = (
                text[: found.start()] + self.rng.choice(found[1].split("|")) + text[found.end() :]
            )
        return re.sub(r" +([.,?!])", r"\1", re.sub(r"  +", " ", text))

    def distractors(self) -> dict[str, str]:
        """Fresh values for the slots that never reach the ticket."""
        rng, world = self.rng, self.world
        return {
            "city": entities.city(rng, world),
            "date": entities.date(rng, world),
            "other": entities.person(rng, world),
            "phone": entities.phone(rng, world),
            "small": entities.fill(rng, rng.choice(("###", "####", "#####", "##")), world),
            "tracking": entities.fill(
                rng, rng.choice(("1Z########", "RR#########@@", "JJD##########")), world
            ),
            "invoice": entities.fill(rng, rng.choice(("INV-####", "R#####", "####/##")), world),
        }

    def typo(self, text: str) -> str:
        """The text with one spelling slip in a lower-case word; slots and capitalised words are left alone."""
        words = list(re.finditer(r"(?<![\w{])[a-z]{4,}(?![\w}])", text))
        if not words:
            return text
        word = self.rng.choice(words)
        at = self.rng.randint(word.start() + 1, word.end() - 2)
        new = self.rng.choice(
            (text[at + 1] + text[at], text[at + 1], text[at] + text[at] + text[at + 1])
        )
        return text[:at] + new + text[at + 2 :]


def message(
    writer: Writer, category: str, mood: str, slots: dict[str, str], has: dict[str, bool]
) -> str:
    """The customer's message: greeting, name here or in the signature, body in random order, closing."""
    rng = writer.rng
    body = [writer.pick(phrases.ISSUES[category])]
    if has["order"]:
        body.append(writer.pick(phrases.ORDER))
    if has["amount"]:
        body.append(writer.pick(phrases.PAID))
    if rng.random() < 0.5:
        rng.shuffle(body)
    chatter = [writer.pick(phrases.CHATTER) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    if mood in MOODS:
        chatter.append(writer.pick(MOODS[mood]))
    chatter = [writer.typo(text) if rng.random() < 0.25 else text for text in chatter]
    for text in chatter:
        body.insert(rng.randint(0, len(body)), text)
    signed = rng.random() < 0.6
    if not signed:
        body.insert(0 if rng.random() < 0.8 else len(body), writer.pick(phrases.NAMED))
    parts = [writer.pick(phrases.GREETING), *body, writer.pick(phrases.CLOSING)]
    text = rng.choice((" ", " ", " ", "\n")).join(part for part in parts if part)
    if signed:
        text += rng.choice(("\n", "\n\n", " ")) + writer.pick(phrases.SIGNED)
    return re.sub(
        r"\{(\w+)\}", lambda m: slots[m[1]] if m[1] in slots else writer.distractors()[m[1]], text
    )


def row(rng: random.Random, split: str) -> Row:
    """One message with its ticket."""
    writer = Writer(rng, split)
    category = rng.choice(list(phrases.ISSUES))
    mood = rng.choices(("plain", "urgent", "relaxed"), (4, 4, 2))[0]
    has = {
        "order": category != "question" and rng.random() < 0.85,
        "amount": rng.random()
        < {"refund": 0.8, "billing": 0.8, "question": 0.0}.get(category, 0.2),
    }
    written, canonical = entities.money(rng, writer.world)
    slots = {
        "product": entities.product(rng, writer.world, shared_kinds=True),
        "name": entities.customer(rng, writer.world, 0.25 + writer.invented),
        "order": entities.code(rng, writer.world),
        "amount": written,
    }
    text = message(writer, category, mood, slots, has)
    ticket = {
        "customer": slots["name"],
        "order": slots["order"] if has["order"] else None,
        "product": slots["product"],
        "category": category,
        "urgent": mood == "urgent",
        "amount": canonical if has["amount"] else None,
    }
    answer = json.dumps(ticket, ensure_ascii=False, separators=(",", ":"))
    return {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    }


def generate(n: int, seed: int, split: str) -> list[Row]:
    """`n` rows of a split, the same for the same arguments."""
    rng = random.Random(f"{seed}/{split}")
    return [row(rng, split) for _ in range(n)]


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=250)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", args.train), ("test", args.test)):
        lines = [
            json.dumps(item, ensure_ascii=False) + "\n"
            for item in generate(count, args.seed, split)
        ]
        (args.out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
