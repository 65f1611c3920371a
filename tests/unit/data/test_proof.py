"""Historic faults of masks and labels, planted one by one: each is found, and no valid pair alarms."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.parity.test_chat_templates import (
    CALLING,
    EOS,
    NAMES,
    SPECIALS,
    TOOLS,
    WITH_TOOLS,
    plain_for,
    template_of,
)

from stead.data.mask import mask_tokens
from stead.data.pack import IGNORED, Batch
from stead.data.proof import Judge, Turns, check_labels
from stead.data.tokenizer import TextTokenizer
from stead.messages import Message

KINDS = ("byte-bpe", "metaspace-bpe", "unigram")
_TEXT = ("Hi there, what is two plus two?", "It is 4, in German vier.", "Weather in Köln?")


def make_tokenizer(folder: Path, kind: str, eos: str) -> TextTokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = sorted(SPECIALS | {"<unk>", eos})
    if kind == "byte-bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
    else:
        is_bpe = kind == "metaspace-bpe"
        made = Tokenizer(models.BPE(unk_token="<unk>") if is_bpe else models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        alphabet = sorted(
            {c for text in (*_TEXT, *map(str, range(10))) for c in text} | set(_all())
        )
        trainer = (
            trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False,
                                initial_alphabet=alphabet)
            if is_bpe
            else trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>",
                                         show_progress=False, initial_alphabet=alphabet)
        )  # fmt: skip
    made.train_from_iterator(_TEXT, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": eos, "pad_token": eos}  # the pad token is the end's
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return TextTokenizer.open(folder)


def _all() -> str:
    texts = [m.text for name in NAMES for m in plain_for(name)] + [m.text for m in CALLING]
    return "".join(texts) + json.dumps(TOOLS, ensure_ascii=False) + "{}\"'\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return (judge, encode) of a template and a kind of tokenizer."""
    made: dict[Any, Any] = {}

    def get(name: str, kind: str = "byte-bpe") -> Any:
        template, eos = template_of(name), EOS.get(name, "</s>")
        key = (kind, eos)
        if key not in made:
            made[key] = make_tokenizer(tmp_path_factory.mktemp("t") / "m", kind, eos)
        tokenizer = made[key]
        end = tokenizer.encode(template.end_of_turn().strip()).ids
        judge = Judge(tokenizer, template)
        judge._stops |= frozenset(end if len(end) == 1 else ())  # as a model folder would say
        stops = judge._stops

        def encode(turns: Turns, train: str = "all") -> tuple[list[int], list[int]]:
            text = template.render_masked(turns.messages, turns.tools, train, first=turns.first)
            masked = mask_tokens(text.text, tokenizer.encode(text.text), text.spans, stops)
            return masked.ids, list(masked.mask)

        return judge, encode

    return get


def rules(found: Any) -> set[str]:
    return {one.rule for one in found}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_no_valid_pair_of_template_and_tokenizer_alarms(name: str, kind: str, pair: Any) -> None:
    judge, encode = pair(name, kind)
    turns = plain_for(name)
    if name == "mistral_tools":
        turns = turns[1:]  # see below
    cases = [Turns(turns), Turns(turns, last_only=True)]
    if name in WITH_TOOLS:
        cases.append(Turns(CALLING, TOOLS))

    for turns in cases:
        ids, mask = encode(turns, "last" if turns.last_only else "all")
        assert judge.check(turns, ids, mask) == []


PLANTED: dict[str, Callable[[list[int], list[int]], tuple[list[int], list[int]]]] = {
    "mask shifted by one to the left": lambda ids, mask: (ids, [*mask[1:], 0]),
    "mask shifted by one to the right": lambda ids, mask: (ids, [0, *mask[:-1]]),
    "end token left out": lambda ids, mask: (
        ids, [m and (i + 1 < len(mask) and mask[i + 1]) for i, m in enumerate(mask)],
    ),
    "prompt trained": lambda ids, mask: (ids, [1] * len(mask)),
    "only the first answer trained": lambda ids, mask: (
        ids, [m if i < mask.index(0, mask.index(1)) else 0 for i, m in enumerate(mask)],
    ),
    "nothing trained": lambda ids, mask: (ids, [0] * len(mask)),
    "double BOS": lambda ids, mask: ([ids[0], *ids], [0, *mask]),
    "only the last token trained": lambda ids, mask: (
        ids, [m and not (i + 1 < len(mask) and mask[i + 1]) for i, m in enumerate(mask)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["llama3", "zephyr", "chatml", "mistral_tools"])
@pytest.mark.parametrize("fault", PLANTED)
def test_every_planted_fault_of_a_mask_is_found(fault: str, name: str, pair: Any) -> None:
    judge, encode = pair(name)
    turns = Turns(plain_for(name))
    ids, mask = encode(turns)
    if fault == "double BOS":
        ids = [judge._tokenizer.bos_id, *[i for i in ids if i != judge._tokenizer.bos_id]]
        mask = mask[-len(ids) :] if len(ids) <= len(mask) else [0, *mask]

    ids, mask = PLANTED[fault](ids, [int(bool(m)) for m in mask])

    assert judge.check(turns, ids, mask)


@pytest.mark.parametrize("name", ["llama3", "chatml", "qwen25", "gemma"])
def test_a_trained_generation_prompt_is_found(name: str, pair: Any) -> None:
    judge, encode = pair(name)
    turns = Turns(plain_for(name))
    ids, mask = encode(turns)
    header = judge._tokenizer.encode(
        judge._template.render(turns.messages[:1], add_generation_prompt=True)[
            len(judge._template.render(turns.messages[:1])) :
        ]
    ).ids
    wider = [
        int(any(mask[i : i + len(header) + 1])) for i in range(len(mask))
    ]  # trained from the header on

    assert "prompt-trained" in rules(judge.check(turns, ids, wider))


def test_a_template_that_drops_the_system_turn_is_found(pair: Any) -> None:
    judge, encode = pair("chatml")
    turns = Turns(plain_for("chatml"))
    ids, mask = encode(replace(turns, messages=turns.messages[1:]))

    assert "turn-dropped" in rules(judge.check(turns, ids, mask))


def test_the_template_of_mistral_drops_the_system_turn_of_finished_chats(pair: Any) -> None:
    """It prints the system turn only before a last user turn: true, and worth telling."""
    judge, encode = pair("mistral_tools")
    turns = Turns(plain_for("mistral_tools"))

    assert rules(judge.check(turns, *encode(turns))) == {"turn-dropped"}


def test_a_cut_row_is_no_fault_when_it_is_known_and_one_when_not(pair: Any) -> None:
    judge, encode = pair("chatml")
    turns = Turns(plain_for("chatml"))
    ids, mask = encode(turns)
    for length in range(mask.index(1) + 2, len(ids)):
        assert judge.check(turns, ids[:length], mask[:length], cut=True) == [], length

    assert judge.check(turns, ids[:-8], mask[:-8])


def test_a_template_without_end_of_turn_does_not_teach_to_stop(pair: Any) -> None:
    judge, _ = pair("chatml")
    turns = Turns((Message("user", "q"), Message("assistant", "answer")))
    encoding = judge._tokenizer.encode("q answer")
    mask = [0, *[1] * (len(encoding.ids) - 1)]

    assert "no-end-token" in rules(judge.check(turns, encoding.ids, mask))


def batch(masks: list[list[int]]) -> Batch:
    """Return right rows of distinct tokens."""
    tokens = np.arange(100, 100 + sum(map(len, masks)))
    starts = np.cumsum([0, *map(len, masks)]).astype(np.int32)
    mask = np.concatenate([np.array(m) for m in masks])
    labels = np.full(len(tokens), IGNORED)
    labels[:-1] = np.where(mask[1:] == 1, tokens[1:], IGNORED)
    labels[starts[1:] - 1] = IGNORED
    positions = np.concatenate([np.arange(len(m)) for m in masks])
    return Batch(tokens, labels, positions, starts, tuple(range(len(masks))))


MASKS = [[0, 0, 1, 1, 1], [1, 1, 1, 1], [0, 1, 0, 1]]


def _across(one: Batch) -> Batch:
    labels = one.labels.copy()
    labels[one.starts[1] - 1] = one.tokens[one.starts[1]]
    return replace(one, labels=labels)


LABEL_FAULTS: dict[str, Callable[[Batch], Batch]] = {
    "label of the next row's first token": _across,
    "labels not shifted": lambda b: replace(b, labels=np.where(b.labels == IGNORED, IGNORED, b.tokens)),
    "labels shifted twice": lambda b: replace(b, labels=np.where(b.labels == IGNORED, IGNORED, np.roll(b.tokens, -2))),
    "last token dropped": lambda b: replace(b, labels=np.concatenate([np.where(np.arange(len(x)) == len(x) - 2, IGNORED, x) for x in np.split(b.labels, b.starts[1:-1])])),
    "positions not reset": lambda b: replace(b, positions=np.arange(len(b.tokens))),
    "pad token's labels left out": lambda b: replace(b, labels=np.where(b.labels == 104, IGNORED, b.labels)),
}  # fmt: skip


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_every_planted_fault_of_labels_is_found(fault: str) -> None:
    masks = [np.array(m) for m in MASKS]
    good = batch(MASKS)

    assert check_labels(good, masks) == []
    assert check_labels(LABEL_FAULTS[fault](good), masks)
