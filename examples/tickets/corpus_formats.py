"""Record types and renderers of the base corpus: one set of facts, told in several formats, so that copying pays.

A record type is a name and its fields (key, kind of value). The renderers turn a record into sentences, key: value lines,
CSV, logs, JSON of these schemas, questions or a letter. It knows nothing about the support-ticket task.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import entities

Record = list[tuple[str, str]]
WORLD = "train"

TYPES: dict[str, list[tuple[str, str]]] = {
    "booking": [
        ("guest", "person"),
        ("room", "number"),
        ("hotel city", "city"),
        ("arrival", "date"),
        ("booking code", "code"),
        ("rate", "money"),
    ],
    "meeting": [
        ("host", "person"),
        ("speaker", "person"),
        ("venue", "city"),
        ("day", "date"),
        ("time", "time"),
        ("topic", "words"),
    ],
    "loan": [
        ("reader", "person"),
        ("title", "words"),
        ("shelf", "code"),
        ("due", "date"),
        ("branch", "city"),
    ],
    "repair": [
        ("technician", "person"),
        ("device", "product"),
        ("serial", "code"),
        ("site", "city"),
        ("hours", "number"),
    ],
    "server": [
        ("machine", "word"),
        ("address", "ip"),
        ("owner", "person"),
        ("build", "code"),
        ("checked", "date"),
    ],
    "stock": [
        ("item", "product"),
        ("sku", "code"),
        ("shelf", "word"),
        ("count", "number"),
        ("price", "money"),
        ("supplier", "person"),
    ],
    "invoice": [
        ("payer", "person"),
        ("reference", "code"),
        ("total", "money"),
        ("issued", "date"),
        ("office", "city"),
    ],
    "trip": [
        ("driver", "person"),
        ("from", "city"),
        ("to", "city"),
        ("plate", "code"),
        ("cost", "money"),
        ("leaves", "time"),
    ],
    "interview": [
        ("candidate", "person"),
        ("recruiter", "person"),
        ("role", "words"),
        ("file", "code"),
        ("start", "date"),
    ],
    "parcel": [
        ("sender", "person"),
        ("receiver", "person"),
        ("barcode", "code"),
        ("contents", "product"),
        ("depot", "city"),
    ],
    "review": [
        ("reviewer", "person"),
        ("gadget", "product"),
        ("paid", "money"),
        ("stars", "digit"),
        ("seen in", "city"),
    ],
    "member": [
        ("name", "person"),
        ("member id", "code"),
        ("phone", "phone"),
        ("town", "city"),
        ("joined", "date"),
    ],
    "auction": [
        ("seller", "person"),
        ("lot", "code"),
        ("object", "product"),
        ("winning bid", "money"),
        ("hall", "city"),
    ],
    "recipe card": [
        ("cook", "person"),
        ("dish", "words"),
        ("tool", "product"),
        ("minutes", "number"),
        ("card", "code"),
    ],
}
WORDS = """river garden window market letter morning winter office silver paper bridge engine forest summer table blue
green quiet early modern simple heavy bright local northern central annual weekly final open broken frozen hidden public
private report plan budget survey training safety harbour station museum school library theatre kitchen workshop studio
energy water traffic music history science design network storage backup release review support planning travel""".split()

# Ways in which a person mentions a value of a kind without naming the field.
MENTIONS: dict[str, list[str]] = {
    "person": [
        "This is {v}.",
        "My name is {v}.",
        "{v} here.",
        "Signed, {v}",
        "{v} told me so.",
        "I spoke with {v}.",
        "Regards,\n{v}",
    ],
    "city": ["I live in {v}.", "We are in {v} now.", "It happened in {v}.", "{v} was rainy."],
    "code": [
        "The number is {v}.",
        "See {v}.",
        "It is filed under {v}.",
        "#{v}",
        "(ref {v})",
        "Code {v}.",
    ],
    "money": ["I paid {v}.", "It cost {v}.", "That was {v} in total.", "The sum of {v} was due."],
    "product": ["I have a {v}.", "The {v} is mine.", "We use the {v} daily.", "About the {v}:"],
    "date": ["That was on {v}.", "Since {v} nothing changed.", "We met on {v}."],
}


def value(rng: random.Random, kind: str) -> str:
    """A random value of a kind."""
    make: dict[str, Callable[[], str]] = {
        "person": lambda: entities.person(rng, WORLD, 0.6),
        "city": lambda: entities.city(rng, WORLD),
        "code": lambda: entities.code(rng, WORLD),
        "date": lambda: entities.date(rng, WORLD),
        "money": lambda: entities.money(rng, WORLD)[0],
        "product": lambda: entities.product(rng, WORLD),
        "phone": lambda: entities.phone(rng, WORLD),
        "word": lambda: entities.invented_word(rng, WORLD, 1, 4),
        "words": lambda: " ".join(rng.sample(WORDS, rng.randint(2, 3))),
        "number": lambda: str(rng.randint(1, 999)),
        "digit": lambda: str(rng.randint(1, 5)),
        "time": lambda: f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
        "ip": lambda: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
    }
    return make[kind]()


def record(rng: random.Random, name: str) -> Record:
    """A record of a type, some fields left out, in random order."""
    fields = rng.sample(TYPES[name], rng.randint(3, len(TYPES[name])))
    return [(key, value(rng, kind)) for key, kind in fields]


def sentence(rng: random.Random, key: str, text: str) -> str:
    """One sentence that states a fact."""
    return rng.choice(
        (
            "The {k} is {v}.",
            "{K}: {v}.",
            "{v} is the {k}.",
            "We noted {v} as the {k}.",
            "As {k} they gave {v}.",
            "It has {v} as {k}.",
            "Please note the {k}, {v}.",
            "The {k} was changed to {v}.",
            '"{v}" is listed as the {k}.',
            "{v} ({k}).",
            "For the {k} we have {v}.",
            "The {k} should be {v}, I think.",
        )
    ).format(k=key, K=key.capitalize(), v=text)


def prose(rng: random.Random, name: str, rec: Record) -> str:
    """The record as sentences in random order."""
    parts = [sentence(rng, k, v) for k, v in rng.sample(rec, len(rec))]
    return rng.choice((f"About the {name}. ", f"One {name} was entered. ", "", "")) + " ".join(
        parts
    )


def letter(rng: random.Random, name: str, rec: Record) -> str:
    """The record in the first person, values mentioned without their field names where the kind allows it."""
    kinds = dict(TYPES[name])
    parts = [
        rng.choice(MENTIONS[kinds[k]]).format(v=v)
        if kinds[k] in MENTIONS and rng.random() < 0.7
        else sentence(rng, k, v)
        for k, v in rec
    ]
    rng.shuffle(parts)
    return rng.choice(("Hello, ", "Hi, ", "Dear team, ", "Good morning. ", "", "")) + " ".join(
        parts
    )


def lines(rng: random.Random, name: str, rec: Record) -> str:
    """Key: value lines."""
    gap = rng.choice((": ", " = ", "=", " - ", ":\t"))
    return f"[{name}]\n" + "\n".join(k + gap + v for k, v in rec)


def csv_row(rng: random.Random, name: str, rec: Record) -> str:
    """A header and a row."""
    gap = rng.choice((",", ";", " | ", "\t"))
    return gap.join(k for k, _ in rec) + "\n" + gap.join(v for _, v in rec)


def json_line(rng: random.Random, name: str, rec: Record) -> str:
    """One line of JSON."""
    tight = rng.random() < 0.7
    return json.dumps(dict(rec), ensure_ascii=False, separators=(",", ":") if tight else None)


def log_line(rng: random.Random, name: str, rec: Record) -> str:
    """A log line with key=value pairs."""
    pairs = " ".join(f'{k.replace(" ", "_")}="{v}"' for k, v in rec)
    return f"{value(rng, 'time')} {rng.choice(('INFO', 'WARN', 'DEBUG'))} {name.replace(' ', '_')} {pairs}"


RENDERERS = (prose, prose, letter, lines, csv_row, json_line, json_line, log_line)
