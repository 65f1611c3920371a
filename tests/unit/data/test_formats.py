"""Columns to rows: detection and its reason, every turn kept, faults named."""

import json
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.core.errors import DataError
from stead.data.clean import Tally
from stead.data.format import detect, formats, map_columns, open_format, text_columns
from stead.data.rows import Loaded, load
from stead.data.section import Section
from stead.messages import Message


def convert(name: str, fields: dict):
    return list(open_format(name).convert(fields, "f:1"))


def one(name: str, fields: dict):
    (row,) = convert(name, fields)
    return row


@pytest.mark.parametrize("name", formats.names())
def test_every_format_recognizes_its_own_example(name):
    example = open_format(name).example

    found = detect([example])
    rows = convert(name, example)

    assert found.name == name
    assert found.confidence == 1
    assert found.why
    assert {row.kind for row in rows} == {open_format(name).kind}


ROWS = {
    "alpaca": [
        {"instruction": "i", "input": "", "output": "o"},
        {"instruction": "i", "input": "x", "output": "o", "system": "s", "history": [["a", "b"]]},
    ],
    "sharegpt": [
        {"conversations": [{"from": "Human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"chat": [{"from": "system", "value": "s"}, {"from": "user", "value": "a"}], "id": 3},
    ],
    "messages": [
        {"messages": [{"role": "user", "content": "a"}]},
        {"my_turns": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
    ],
    "pairs": [
        {"prompt": "a", "response": "b"},
        {"input": "a", "output": "b"},
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
    ],
    "qa": [
        {"question": "a", "answer": "b"},
        {"question": "a", "context": "c", "answers": {"text": ["b"], "answer_start": [0]}},
    ],
    "summary": [{"document": "a", "summary": "b"}, {"article": "a", "highlights": "b", "id": "x"}],
    "preference": [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"question": "a", "chosen": "b", "rejected": "c", "score": 3},
        {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
         "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]},
    ],
    "labelled": [
        {"prompt": "a", "completion": "b", "label": "no"},
        {"messages": [{"role": "user", "content": "a"}], "label": 1},
    ],
    "text": [{"text": "a"}, {"story": "some words here", "n": 4}],
}  # fmt: skip


@pytest.mark.spec("003-048")
@pytest.mark.parametrize(("name", "fields"), [(n, f) for n, many in ROWS.items() for f in many])
def test_columns_of_each_format_are_detected(name, fields):
    assert detect([fields] * 3).name == name


def test_near_misses_say_what_is_missing():
    with pytest.raises(DataError) as caught:
        detect([{"instruction": "do this thing", "topic": "words too"}])

    assert caught.value.code == "unknown-format"
    assert "alpaca (lacks 'output')" in caught.value.message


@pytest.mark.spec("003-049")
def test_text_columns_are_found_and_their_absence_is_an_error():
    records = [{"id": "17", "n": 3, "title": "some words", "body": "many more words than that"}]

    assert text_columns(records) == ["body", "title"]
    with pytest.raises(DataError) as caught:
        detect([{"id": 1, "score": 0.5, "flag": True}])
    assert caught.value.code == "no-text-columns"
    assert "id, score, flag" in caught.value.message


@pytest.mark.spec("003-046")
def test_one_named_column_is_the_text():
    fields = map_columns({"body": "the text", "title": "t"}, {"text": "body"})

    assert detect([fields]).name == "text"
    assert one("text", fields).text == "the text"


@pytest.mark.spec("003-047")
def test_several_columns_are_combined_by_joining_or_by_a_pattern():
    record = {"title": "T", "body": "B", "empty": None}

    joined = map_columns(record, {"text": "title+body+empty"})
    pattern = map_columns(record, {"prompt": "Title: {title}\\nText: {body}", "completion": "body"})

    assert one("text", joined).text == "T\n\nB"
    assert one("pairs", pattern).messages[0].content == "Title: T\nText: B"


def test_a_mapping_to_a_missing_column_names_the_columns():
    with pytest.raises(DataError, match=r"no column 'bdy' \(columns: title, body\)"):
        map_columns({"title": "T", "body": "B"}, {"text": "bdy"})


def test_tool_turns_become_calls_and_results():
    turns = [
        {"from": "human", "value": "weather?"},
        {"from": "function_call", "value": '{"name": "w", "arguments": {"city": "Rome"}}'},
        {"from": "observation", "value": '{"t": 20}'},
        {"from": "gpt", "value": "20 degrees"},
    ]

    row = one("sharegpt", {"conversations": turns, "tools": '[{"name": "w", "parameters": {}}]'})

    assert [m.role for m in row.messages] == ["user", "assistant", "tool", "assistant"]
    call = row.messages[1].tool_calls[0]
    assert (call.name, json.loads(call.arguments)) == ("w", {"city": "Rome"})
    assert row.messages[2].tool_call_id == call.id
    assert row.tools == ({"type": "function", "function": {"name": "w", "parameters": {}}},)


def test_openai_tool_calls_keep_their_arguments_as_written():
    call = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"a":  1}'}}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "r", "tool_call_id": "c1"},
        {"role": "assistant", "content": "a", "reasoning_content": "because"},
    ]

    row = one("messages", {"messages": turns})

    assert row.messages[1].tool_calls[0].arguments == '{"a":  1}'
    assert row.messages[2].tool_call_id == "c1"
    assert row.messages[3].reasoning == "because"


def test_raw_transcripts_share_a_prompt_and_keep_every_turn():
    prompt = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"
    fields = {"chosen": prompt + "\n\nAssistant: d", "rejected": prompt + "\n\nAssistant: e\n\nf"}

    row = one("preference", fields)

    assert [m.content for m in row.messages] == ["a", "b", "c"]
    assert row.chosen == (Message("assistant", "d"),)
    assert row.rejected == (Message("assistant", "e\n\nf"),)


def test_transcripts_that_part_early_keep_all_turns_that_follow():
    chosen = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"
    rejected = "\n\nHuman: a\n\nAssistant: x\n\nHuman: y\n\nAssistant: z"

    row = one("preference", {"chosen": chosen, "rejected": rejected})

    assert [m.content for m in row.messages] == ["a"]
    assert [m.content for m in row.chosen] == ["b", "c", "d"]
    assert [m.content for m in row.rejected] == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        ("sharegpt", {"conversations": [{"from": "robot9", "value": "x"}]}, "unknown-role"),
        ("sharegpt", {"conversations": [{"from": "gpt", "value": 3}]}, "bad-turn"),
        ("sharegpt", {"conversations": []}, "bad-turn"),
        (
            "sharegpt",
            {"conversations": [{"from": "function_call", "value": "no json"}]},
            "bad-call",
        ),
        ("messages", {"messages": [{"content": "x"}]}, "bad-turn"),
        ("alpaca", {"instruction": ["x"], "output": "y"}, "not-text"),
        ("labelled", {"prompt": "a", "completion": "b", "label": "maybe"}, "bad-label"),
        ("preference", {"chosen": "a", "rejected": "b"}, "no-prompt"),
        ("preference", {"prompt": "a", "chosen": None, "rejected": "b"}, "bad-turn"),
    ],
)
def test_a_fault_in_a_row_is_named(name, fields, code):
    with pytest.raises(DataError) as caught:
        convert(name, fields)

    assert caught.value.code == code


def _turns_in(name: str, record: dict) -> int:
    """Count a record's turns by hand, not by the code under test."""
    if name.startswith("alpaca_en") or name.startswith("gsm8k") or name.startswith("humaneval"):
        return 2
    if name.startswith("alpaca_seed"):
        return 2 * len(record["instances"])
    if name.startswith("hh_"):
        return (record["chosen"] + record["rejected"]).count("\n\nHuman:") + (
            record["chosen"] + record["rejected"]
        ).count("\n\nAssistant:")
    if name.startswith("dpo"):
        return 2 * len(record["conversations"]) + 2
    return len(record.get("conversations", record.get("messages")))


EXPECTED = {
    "alpaca_en_demo.json": "alpaca", "alpaca_seed_tasks.jsonl": "alpaca", "dpo_en_demo.json": "preference",
    "glaive_toolcall_en_demo.json": "sharegpt", "gsm8k_test.jsonl": "qa", "gsm8k_train.jsonl": "qa",
    "hh_harmless.jsonl": "preference", "humaneval.jsonl": "pairs", "kto_en_demo.json": "labelled",
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_real_conversations_keep_every_turn(name, real):
    text = (real / name).read_text()
    records = (
        json.loads(text) if name.endswith(".json") else [json.loads(x) for x in text.splitlines()]
    )
    found = detect(records[:200])

    assert found.name == EXPECTED[name]
    kind = open_format(found.name)
    for number, record in enumerate(records):
        rows = list(kind.convert(record, str(number)))
        turns = sum(
            len(row.messages) * (1 + bool(row.rejected)) + len(row.chosen) + len(row.rejected)
            for row in rows
        )
        assert turns == _turns_in(name, record), number


@pytest.mark.parametrize(("name", "rows"), [("c4_demo.jsonl", 300), ("wiki_demo.txt", 30)])
def test_real_text_is_read_whole(name, rows, real):
    loaded = Loaded(Tally())

    texts = [row.text for row in load(Section(str(real / name), dedupe=False), loaded)]

    assert len(texts) == rows
    assert loaded.formats[0].name == "text"


def test_every_line_of_verse_is_kept(real):
    texts = [row.text for row in load(Section(str(real / "tinyshakespeare.txt")), Loaded(Tally()))]

    original = (real / "tinyshakespeare.txt").read_text().split()

    assert Counter(" ".join(texts).split()) == Counter(original)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "from", "content", "value", "text", "tool_calls", "name", "function", "x"]),
        inner, max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip
names = st.sampled_from(
    ["messages", "conversations", "instruction", "output", "prompt", "chosen", "rejected", "label",
     "question", "answers", "context", "text", "summary", "document", "instances", "tools", "system"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, json_values, min_size=1, max_size=5))
def test_any_record_gives_rows_or_a_typed_error(fields):
    for name in formats.names():
        kind = open_format(name)
        kind.lacks(fields)
        kind.recognize(fields)
        with suppress(DataError):  # anything else is a fault
            list(kind.convert(fields, "f:1"))
