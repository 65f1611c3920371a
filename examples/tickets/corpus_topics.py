"""Small talk, everyday sentences, word groups and topic questions of the base corpus: which words belong together.

It gives the base model general associations (cracked, dented, broken; owe, pay, charge) from sentences about fences, buses and
libraries. No sentence is taken from the ticket task, the group names are not its categories, and no answer has its form.
"""

from __future__ import annotations

import random

from corpus_formats import WORDS

GROUPS: dict[str, list[str]] = {
    "damage": "broken cracked shattered dented scratched bent torn smashed chipped crushed ripped snapped ruined damaged".split(),
    "transport": "delivery;courier;parcel;shipment;package;carrier;tracking;transit;depot;mailbox;postman;late;overdue;lost;"
    "missing;still waiting;not arrived;on the way;delivered".split(";"),
    "money": "charge;payment;bill;invoice;card;bank statement;debit;price;discount;fee;charged twice;billed;extra charge;total;"
    "too much;cost".split(";"),
    "giving back": "refund;reimburse;pay back;money back;sent back;returned;owed;give back;reimbursement;gave back".split(
        ";"
    ),
    "failure": "defective;fault;faulty;dead;failed;stopped working;crashes;noise;overheats;flickers;will not start;switches off;"
    "quit working;no power;error;died".split(";"),
    "mistake": "wrong;different;another one;mixed up;confused;swapped;instead of;mistaken;mix-up;other one;not the one".split(
        ";"
    ),
    "stopping": "cancel;stop;call off;withdraw;drop;no longer need;changed my mind;not wanted any more;do not want".split(
        ";"
    ),
    "asking": "question;wonder;how to;tell me;explain;curious;compatible;how do I;is it possible;can it;does it;what size".split(
        ";"
    ),
    "hurry": "urgent;immediately;today;by tomorrow;quickly;as soon as possible;right away;no time to lose;please hurry;cannot wait".split(
        ";"
    ),
    "calm": "whenever you like;later;slowly;no rush;no hurry;next week is fine;take your time;it can wait;not urgent".split(
        ";"
    ),
    "weather": "rain snow wind storm sunny cloudy fog ice frost warm cold".split(),
    "food": "bread soup rice salad cheese apple coffee tea cake fish egg".split(),
    "family": "mother father sister brother aunt uncle cousin daughter son wife husband neighbour".split(),
    "animals": "dog cat horse bird cow sheep goat rabbit duck fox".split(),
    "work": "office meeting manager colleague report desk project team plan deadline agent".split(),
}
ABOUT: dict[str, list[str]] = {
    "damage": [
        "The {w} wall is {a}, and the door is {b} too.",
        "A stone fell and the window got {a}.",
        "Our fence was {a} in the storm.",
        "I found the cup {a} on the floor.",
        "There is a big crack in the {w} bridge.",
        "Who left the gate {a} and {b}?",
    ],
    "transport": [
        "The bus was late and we are still waiting for it.",
        "A letter to my {f} never arrived.",
        "The ship has not reached the harbour yet.",
        "They wrote {a} on the {w} board at the station.",
        "Where is the train? It should have been here hours ago.",
        "The {w} truck is lost on the way.",
    ],
    "money": [
        "The restaurant put {n} coffees on our bill by mistake.",
        "The ticket had the wrong price.",
        "My bank took the fee two times.",
        "The landlord wants {n} coins too much.",
        "It says {a} and {b} in the account book.",
        "We were charged for a room that we never used.",
    ],
    "giving back": [
        "My {f} still owes me the money for the concert.",
        "The school will pay us back for the trip.",
        "I gave the book back, so they returned the fee.",
        "He asked for his money back after the show.",
        "They wrote {a} on the note for the {w} fund.",
        "We are waiting to get our deposit back.",
    ],
    "failure": [
        "The old car will not start any more.",
        "The {w} lift stopped working at noon.",
        "The lights go off after a few minutes.",
        "The radio makes a strange noise and then dies.",
        "The {w} pump has {a} on the label, it has no power.",
        "The clock on the tower failed again.",
    ],
    "mistake": [
        "I took the wrong coat, it is a different colour.",
        "The waiter brought another dish instead of mine.",
        "We got on a different train than planned.",
        "Somebody mixed up the {w} keys.",
        "That is not the song I asked for.",
        "She confused me with my {f}.",
    ],
    "stopping": [
        "We called off the {w} party.",
        "I changed my mind and do not want to go.",
        "They had to cancel the match.",
        "Please stop the {w} class, nobody needs it.",
        "He withdrew from the {w} race.",
        "I no longer need the {w} ticket.",
    ],
    "asking": [
        "How do I get to the {w} museum?",
        "Is the path safe for children?",
        "What colour was the {w} door?",
        "Can you tell me how old the {a} is?",
        "Does the {w} train go to the coast?",
        "I wonder if the shop is open, could you explain?",
    ],
    "hurry": [
        "Run, the train leaves in {n} minutes!",
        "The doctor must come at once, it is urgent.",
        "We need {n} chairs by tomorrow.",
        "Call me right away, I cannot wait.",
        "The paper is due tonight, so be quick.",
        "There is no time, {a}!",
    ],
    "calm": [
        "Take your time with the soup, there is no rush.",
        "We can paint the {w} fence later, it can wait.",
        "Come over whenever you have a free hour.",
        "Next week is fine for the {w} visit.",
        "No hurry, said the {f}.",
        "It is not urgent, {a}.",
    ],
}
TALK = (
    "I hope you are well.",
    "The weather was {g} here.",
    "We talked about {w} and {w}.",
    "My {f} likes {w} {w}.",
    "Have you seen my {f}?",
    "It has been a long week.",
    "Thanks for the quick answer last time.",
    "I usually read the {w} section.",
    "Good to hear from you!",
    "We had {d} for lunch.",
    "Our {a} sleeps by the {w}.",
    "I found your address online.",
    "Sorry for the long note.",
    "Would you like to join us?",
    "Nothing else to add.",
    "The {w} team was very friendly.",
    "I have been a reader for {n} years.",
    "We bought {n} of them last year.",
    "There were {n} people.",
    "Please excuse my writing.",
    "I will be away for {n} days.",
    "Let me know what you think.",
    "I tried to call you.",
    "My {f} has been in the {w} club for a long time.",
    "Everybody here looks forward to the {w} day.",
    "You can reach us by phone.",
    "The number of the {w} is {n}.",
    "Our house number is {n}.",
    "Could you help me with the {w}?",
    "I already wrote to the {w} office.",
)


def fill(rng: random.Random, text: str, name: str = "") -> str:
    """The template with its slots filled."""
    own = GROUPS.get(name) or WORDS
    for mark, pool in (
        ("{a}", own),
        ("{b}", own),
        ("{g}", GROUPS["weather"]),
        ("{f}", GROUPS["family"]),
        ("{d}", GROUPS["food"]),
        ("{w}", WORDS),
    ):
        while mark in text:
            text = text.replace(mark, rng.choice(pool), 1)
    return text.replace("{n}", str(rng.randint(2, 30)))


def small_talk(rng: random.Random) -> str:
    """One to three everyday sentences."""
    return " ".join(fill(rng, text) for text in rng.sample(TALK, rng.randint(1, 3)))


def glossary(rng: random.Random) -> str:
    """Words of a few groups with the name of their group."""
    out = []
    for name in rng.sample(list(GROUPS), rng.randint(2, 4)):
        words = rng.sample(GROUPS[name], min(len(GROUPS[name]), rng.randint(4, 8)))
        out.append(
            rng.choice(
                ("{n}: {w}", "Words for {n} are {w}.", "{w} -> {n}", "{w} all mean {n}.")
            ).format(n=name, w=", ".join(words))
        )
    return "\n".join(out)


def about(rng: random.Random, name: str) -> str:
    """A sentence about a group: a natural one, or a loose one with two of its words."""
    loose = (
        "It was {a}, even {b}.",
        "They wrote {a} and {b} about the {w}.",
        "The {w}: {a}, not {w}.",
        "Somebody said {a} near the {w}.",
        "I mean {a} or {b}.",
        "{a} {b} {w}",
        "My {w} and {a}, since the {w}.",
        "He said {a}, she said {b}.",
    )
    return fill(
        rng, rng.choice(ABOUT[name] if name in ABOUT and rng.random() < 0.6 else loose), name
    )


def topic_chat(rng: random.Random) -> str:
    """Small talk around a sentence about a word group; the answer names the group."""
    name = rng.choice(list(ABOUT) * 2 + list(GROUPS))
    parts = [about(rng, name)] + [small_talk(rng)] * rng.randint(0, 1)
    rng.shuffle(parts)
    question = rng.choice(("What is it about?", "Topic?", "Which word group is this?"))
    return (
        f"<|im_start|>user\n{' '.join(parts)}\n{question}<|im_end|>\n"
        f"<|im_start|>assistant\n{name}<|im_end|>\n"
    )
