"""Each token knows its turn: as many turns as the row has, whatever the template does with the last one."""

from itertools import groupby
from pathlib import Path

import pytest
from tests.unit.data.conftest import CHATML

from stead.data.clean import Tally
from stead.data.examples import Encoder
from stead.data.row import Row
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.data.turn_places import turns_of
from stead.messages import Message

THINKING = (  # an empty thought only in the last turn, as some models' templates write it
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if loop.last and m['role'] == 'assistant' %}<think></think>{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
)
NO_HALF = "{% if messages[-1]['role'] != 'assistant' %}{{ raise_exception('no answer') }}{% endif %}" + CHATML  # fmt: skip
CHAT = (
    Message("system", "be kind"),
    Message("user", "hi"),
    Message("assistant", "hello"),
    Message("user", "hi"),
    Message("assistant", "hello again"),
)


def shown(folder: Path, row: Row, column: str = "tokens") -> list[tuple[int, str]]:
    """Return (turn, its text) of a row."""
    encoder = Encoder(TextTokenizer.open(folder), ChatTemplate.open(folder))
    example = next(encoder.encode([row], row.kind, Tally("skip")))
    ids = example.columns[column].ids
    text = encoder.render(example.row)[column].text
    turns = turns_of(example.row, column, text, ids, encoder.tokenizer, encoder.template)
    pieces = zip(turns, encoder.tokenizer.decode_pieces(ids), strict=True)
    return [(t, "".join(p for _, p in part)) for t, part in groupby(pieces, lambda one: one[0])]


@pytest.mark.parametrize("template", [CHATML, THINKING])
def test_a_chat_has_as_many_turns_as_messages(template, make_model, tmp_path):
    folder = make_model(tmp_path / "m", template=template)

    found = shown(folder, Row("messages", "here", CHAT))

    assert [turn for turn, _ in found] == [0, 1, 2, 3, 4]
    for (_, text), message in zip(found, CHAT, strict=True):
        assert text.startswith(f"<|im_start|>{message.role}\n")
        assert text.endswith(f"{message.text}<|im_end|>\n")


def test_bos_and_a_preference_of_two_columns(make_model, tmp_path):
    folder = make_model(tmp_path / "m", template=None, adds_bos=True)
    row = Row("preference", "here", CHAT[:2], chosen=CHAT[2:3], rejected=(Message("assistant", "no"),))  # fmt: skip

    for column, answer in (("chosen", "hello"), ("rejected", "no")):
        found = shown(folder, row, column)
        assert [turn for turn, _ in found] == [0, 1, 2]
        assert found[0][1].startswith("<s>")
        assert answer in found[2][1]


def test_a_template_that_renders_no_half_chat_is_no_fault(make_model, tmp_path):
    found = shown(make_model(tmp_path / "m", template=NO_HALF), Row("messages", "here", CHAT))

    assert found[-1][0] == 4
    assert "".join(text for _, text in found).count("<|im_start|>") == len(CHAT)
