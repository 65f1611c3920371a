"""Pools of invented entities (people, products, codes, cities, dates, money), split into two disjoint worlds.

Every drawn string belongs to the "train" or the "test" world by its CRC-32, so the base corpus and the training rows
("train") can never contain a held-out name, product word, city, code, date or amount ("test"). It knows nothing about
tickets or corpora, and makes no promise that an invented name is nobody's real name.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

FIRST = """Maren Jonas Aisha Pedro Lucia Henrik Olga Tomas Priya Kenji Fatima Diego Ingrid Samuel Amara Viktor Elena
Rashid Noor Felix Greta Mateo Sofia Anders Leila Bruno Carmen Dmitri Esther Farid Gloria Hugo Irina Jamal Karin Liam
Mira Nadia Oscar Paula Quentin Rosa Stefan Tamara Umar Vera Walter Xenia Yusuf Zara Adele Boris Clara Daniel Edith
Frank Grace Harold Ivan Julia Kevin Laura Martin Nina Oliver Petra Robert Sarah Thomas Ursula Victor Wanda Yvonne
Alice Benjamin Charlotte David Emma Florence George Hannah Isaac Jessica Kimberly Leonard Megan Nathan Olivia Patrick
Rachel Simon Teresa Vanessa William Andrea Brian Cynthia Derek Eileen Gavin Helen Ian Joan Keith Linda Marcus Norah
Owen Phoebe Ravi Sunita Mei Hiro Chen Linh Anh Bilal Chidi Ngozi Kwame Abena Soren Astrid Lars Freya Matteo Giulia
Luca Chiara Pablo Ines Joao Beatriz Marek Zofia Jan Hana Pavel Eva Istvan Katalin Andrei Ioana Niko Despina""".split()
LAST = """Kovacs Lindqvist Okafor Ramirez Haddad Novak Petrov Tanaka Silva Moreau Schneider Rossi Johansson Nguyen Patel
Kim Yamamoto Garcia Lopez Fischer Weber Becker Hoffmann Koch Richter Wolf Klein Schwarz Zimmermann Hartmann Larsen
Hansen Nielsen Jensen Berg Dahl Lund Holm Bergman Eklund Virtanen Korhonen Laine Nowak Kowalski Wisniewski Zielinski
Horvat Babic Popescu Ionescu Dimitrov Ivanova Papadopoulos Demir Yilmaz Kaya Aydin Rahman Hussain Chaudhry Sharma Gupta
Reddy Iyer Banerjee Mukherjee Fernando Perera Tran Pham Chan Wong Zhang Park Choi Mori Sato Ito Suzuki Adeyemi Mensah
Boateng Diallo Traore Mwangi Otieno Dlamini Smith Johnson Williams Brown Jones Miller Davis Wilson Anderson Taylor Moore
Jackson White Harris Clark Lewis Walker Hall Young King Wright Hill Green Baker Adams Nelson Carter Mitchell Roberts
Turner Phillips Campbell Parker Evans Edwards Collins Stewart Morris Rogers Reed Cook Morgan Bell Murphy Bailey Cooper
Murray Fraser Sinclair Byrne Doyle Costa Ferreira Almeida Duarte Marino Greco Bianchi Conti Dubois Lefevre Girard""".split()
CITIES = """Lisbon Porto Madrid Valencia Bilbao Lyon Nantes Lille Turin Bologna Naples Vienna Graz Linz Zurich Basel Munich
Hamburg Leipzig Dresden Cologne Bremen Prague Brno Krakow Gdansk Poznan Warsaw Riga Vilnius Tallinn Helsinki Turku Tampere
Oslo Bergen Malmo Uppsala Aarhus Odense Dublin Cork Galway Leeds Bristol York Cardiff Glasgow Dundee Boston Denver Austin
Dallas Portland Seattle Chicago Toronto Montreal Halifax Calgary Perth Brisbane Adelaide Auckland Nairobi Accra Lagos Tunis
Rabat Cairo Amman Ankara Izmir Athens Patras Sofia Varna Belgrade Zagreb Split Budapest Szeged Pune Chennai Jaipur Hanoi
Osaka Kyoto Nagoya Sapporo Busan Taipei Manila Cebu Jakarta""".split()
NOUNS = """kettle;toaster;blender;lamp;desk lamp;backpack;tent;sleeping bag;headphones;keyboard;mouse;monitor;router;printer;
camera;tripod;speaker;microphone;watch;bracelet;jacket;raincoat;boots;sandals;sweater;scarf;gloves;helmet;bicycle;scooter;
skateboard;yoga mat;dumbbell set;water bottle;coffee grinder;espresso machine;frying pan;saucepan;knife set;cutting board;
mixer;juicer;rice cooker;air fryer;vacuum;fan;heater;humidifier;air purifier;mattress;pillow;blanket;duvet;curtain;rug;
bookshelf;office chair;standing desk;armchair;sofa;side table;mirror;wall clock;alarm clock;picture frame;vase;candle set;
plant pot;garden hose;lawn mower;drill;screwdriver set;toolbox;ladder;flashlight;battery pack;charger;power bank;phone case;
tablet;laptop stand;webcam;hard drive;memory card;projector;guitar;ukulele;violin;drum pad;puzzle;board game;chess set;
doll house;toy train;stroller;car seat;high chair;baby monitor;dog bed;cat tree;fish tank;bird feeder;suitcase;wallet;
handbag;umbrella;sunglasses;hair dryer;razor;toothbrush;scale;thermometer;notebook;fountain pen;paper shredder""".replace(
    "\n", ""
).split(";")
MONTHS = (
    "January February March April May June July August September October November December".split()
)
CODE_FORMS = (
    "ORD-######",
    "@@-#####",
    "@@######",
    "#######",
    "@-####-@@",
    "###-#######",
    "@@@####",
    "@#-#####",
    "@@##-####",
)
CURRENCIES = {
    "USD": ("${}", "{} dollars", "USD {}"),
    "EUR": ("€{}", "{} euros", "EUR {}"),
    "GBP": ("£{}", "{} pounds", "GBP {}"),
}
_ONSETS = (
    "b c d f g h j k l m n p r s t v w z".split() * 3
    + "br ch cl dr fr gr kr pl pr sh sk sl st th tr vr".split()
)
_VOWELS = "a e i o u".split() * 3 + "ai ea ou ie y".split()
_CODAS = [""] * 9 + "l n r s t k m x".split() + "nd rt ck lm sk".split()


def world(text: str) -> str:
    """The world a string belongs to: about one string in five is "test"."""
    return "test" if zlib.crc32(text.lower().encode()) % 5 == 0 else "train"


def _draw(make: Callable[[], str], split: str) -> str:
    while world(text := make()) != split:
        pass
    return text


def invented_word(rng: random.Random, split: str, low: int = 2, high: int = 3) -> str:
    """A capitalised pronounceable word of `low` to `high` syllables."""

    def make() -> str:
        return "".join(
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
            for _ in range(rng.randint(low, high))
        ).capitalize()

    return _draw(make, split)


def _listed(rng: random.Random, pool: list[str], split: str, invented: float) -> str:
    if rng.random() < invented:
        return invented_word(rng, split)
    return _draw(lambda: rng.choice(pool), split)


def person(rng: random.Random, split: str, invented: float = 0.25) -> str:
    """First and last name, each from a list or, with the probability `invented`, made of syllables."""
    return f"{_listed(rng, FIRST, split, invented)} {_listed(rng, LAST, split, invented)}"


def customer(rng: random.Random, split: str, invented: float) -> str:
    """A person whose first name may be anybody's; the last name belongs to one world only."""
    return f"{rng.choice(FIRST)} {_listed(rng, LAST, split, invented)}"


def city(rng: random.Random, split: str) -> str:
    """A city, half of them invented."""
    return _listed(rng, CITIES, split, 0.5)


def product(rng: random.Random, split: str, *, shared_kinds: bool = False) -> str:
    """Brand, sometimes a model code, and a kind of goods; the kind is of both worlds if `shared_kinds`."""
    brand = invented_word(rng, split, 2 if shared_kinds else 1, 3)
    noun = rng.choice(NOUNS) if shared_kinds else _draw(lambda: rng.choice(NOUNS), split)
    model = (
        rng.choice("ABCDEFGHKLMNPRSTVXZ") + str(rng.randint(1, 990)) + " "
        if rng.random() < 0.3
        else ""
    )
    return f"{brand} {model}{noun}"


def fill(rng: random.Random, form: str, split: str) -> str:
    """A code from a form: `@` becomes a capital letter and `#` a digit."""
    swap: dict[str, Callable[[], str]] = {
        "@": lambda: rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        "#": lambda: rng.choice("0123456789"),
    }
    return _draw(lambda: "".join(swap[c]() if c in swap else c for c in form), split)


def code(rng: random.Random, split: str) -> str:
    """An order-like code."""
    return fill(rng, rng.choice(CODE_FORMS), split)


def number(rng: random.Random, split: str) -> str:
    """An amount with two decimals."""
    top = rng.choice((30, 100, 400, 2000))
    return _draw(
        lambda: (
            f"{rng.randint(2, top)}.{rng.choice(('00', '50', '99', '90', '95', '49', f'{rng.randint(0, 99):02d}'))}"
        ),
        split,
    )


def money(rng: random.Random, split: str) -> tuple[str, str]:
    """An amount as people write it and in the canonical form: ("$49.90", "USD 49.90")."""
    value, name = number(rng, split), rng.choice(list(CURRENCIES))
    return rng.choice(CURRENCIES[name]).format(value), f"{name} {value}"


def date(rng: random.Random, split: str) -> str:
    """A calendar date in one of four notations."""

    def make() -> str:
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2019, 2027)
        name = MONTHS[month - 1]
        return rng.choice(
            (
                f"{day} {name}",
                f"{name} {day}",
                f"{year}-{month:02d}-{day:02d}",
                f"{day} {name} {year}",
            )
        )

    return _draw(make, split)


def phone(rng: random.Random, split: str) -> str:
    """A telephone number."""
    return fill(
        rng, rng.choice(("+## ## #######", "0### ######", "###-###-####", "+## ### ### ###")), split
    )
