"""Seeded generator of the base model's corpus: synthetic office text whose documents restate their own facts.

    python corpus.py OUT.txt --documents 60000 --seed 1

One JSON string per line (documents contain newlines). About half of the documents use the chat markers. It uses only
entities of the "train" world and never the ticket schema; it teaches copying and look-up, not facts about the world.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import corpus_formats as formats
from corpus_topics import ABOUT, about, glossary, small_talk, topic_chat


def chat(*turns: tuple[str, str]) -> str:
    """Turns with the markers of the chat template."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def views(rng: random.Random) -> str:
    """One record in two to four formats."""
    name = rng.choice(list(formats.TYPES))
    rec = formats.record(rng, name)
    out = []
    for render in rng.sample(formats.RENDERERS, rng.randint(2, 5)):
        out.append(render(rng, name, rng.sample(rec, len(rec)) if rng.random() < 0.4 else rec))
    return "\n\n".join(out)


def repeats(rng: random.Random) -> str:
    """A list of values, then the same list in another notation or order."""
    kind = rng.choice(("person", "city", "code", "product", "word", "phone", "date", "money"))
    items = [formats.value(rng, kind) for _ in range(rng.randint(3, 8))]
    again = items if rng.random() < 0.6 else rng.choice((items[::-1], sorted(items)))
    notes = [
        ", ".join,
        "\n".join,
        " / ".join,
        lambda x: json.dumps(x, ensure_ascii=False),
        lambda x: "\n".join(f"{i + 1}. {v}" for i, v in enumerate(x)),
        lambda x: "\n".join(f"- {v}" for v in x),
        lambda x: json.dumps(x, ensure_ascii=False, separators=(",", ":")),
    ]
    first, second = rng.sample(notes, 2)
    return first(items) + "\n\n" + second(again)


def passage(rng: random.Random) -> tuple[str, str, formats.Record, list[str]]:
    """A text about one record with small talk, its type, its record, and the keys of the type that it leaves out."""
    name = rng.choice(list(formats.TYPES))
    rec = formats.record(rng, name)
    render = rng.choice(
        (
            formats.prose,
            formats.letter,
            formats.letter,
            formats.letter,
            formats.lines,
            formats.log_line,
            formats.csv_row,
        )
    )
    text = render(rng, name, rec)
    if rng.random() < 0.6:
        talk = small_talk(rng) if rng.random() < 0.6 else about(rng, rng.choice(list(ABOUT)))
        text = rng.choice((f"{talk} {text}", f"{text} {talk}", f"{talk}\n\n{text}"))
    return text, name, rec, [k for k, _ in formats.TYPES[name] if k not in dict(rec)]


def ask(rng: random.Random) -> str:
    """Questions about a passage, answered with its words."""
    text, _, rec, absent = passage(rng)
    turns: list[tuple[str, str]] = []
    for key, val in rng.sample(rec, min(len(rec), rng.randint(1, 3))):
        question = rng.choice(
            ("What is the {}?", "Tell me the {}.", "{}?", "Which {} is given?")
        ).format(key)
        turns += [("user", question), ("assistant", rng.choice((val, f"The {key} is {val}.")))]
    if absent and rng.random() < 0.4:
        turns += [("user", f"What is the {rng.choice(absent)}?"), ("assistant", "It is not given.")]
    turns[0] = ("user", text + "\n\n" + turns[0][1])
    return chat(*turns)


def extract(rng: random.Random) -> str:
    """A passage and its record as JSON of the record's own schema; fields that the text leaves out are null."""
    text, name, rec, absent = passage(rng)
    found = dict(rec)
    keys = [k for k, _ in formats.TYPES[name]] if absent and rng.random() < 0.7 else list(found)
    if rng.random() < 0.3:
        rng.shuffle(keys)
    tight = rng.random() < 0.8
    answer = json.dumps(
        {k: found.get(k) for k in keys},
        ensure_ascii=False,
        separators=(",", ":") if tight else None,
    )
    request = rng.choice(
        (
            "Fields: " + ", ".join(keys),
            f"As JSON with {', '.join(keys)}.",
            "JSON: " + ", ".join(keys),
        )
    )
    if rng.random() < 0.5:
        return chat(("system", request), ("user", text), ("assistant", answer))
    return chat(("user", f"{text}\n\n{request}"), ("assistant", answer))


def restate(rng: random.Random) -> str:
    """A request to repeat or reformat a text."""
    name = rng.choice(list(formats.TYPES))
    rec = formats.record(rng, name)
    source, target = rng.sample(
        (formats.prose, formats.lines, formats.csv_row, formats.json_line, formats.log_line), 2
    )
    label = {
        formats.prose: "sentences",
        formats.lines: "lines",
        formats.csv_row: "a table",
        formats.json_line: "JSON",
        formats.log_line: "a log line",
    }
    return chat(
        ("user", f"Write as {label[target]}:\n{source(rng, name, rec)}"),
        ("assistant", target(rng, name, rec)),
    )


MAKERS = (
    (views, 22),
    (repeats, 16),
    (ask, 14),
    (extract, 24),
    (restate, 8),
    (glossary, 6),
    (topic_chat, 10),
)


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents, the same for the same seed."""
    rng = random.Random(seed)
    makers, weights = zip(*MAKERS, strict=True)
    for _ in range(count):
        yield rng.choices(makers, weights)[0](rng)


def main() -> None:
    """Write the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with args.out.open("w", encoding="utf-8") as handle:
        for text in documents(args.documents, args.seed):
            handle.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
