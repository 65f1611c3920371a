"""Rows are counted once per content, choices and tokenizer; anything else counts them again."""

import json

import pytest

from stead.app import surveys
from stead.app.plans import make_plan


@pytest.fixture
def counts(monkeypatch):
    """How often rows were really counted."""
    made = []

    def counted(*given, **named):
        made.append(given)
        return real(*given, **named)

    real = surveys.survey
    monkeypatch.setattr(surveys, "survey", counted)
    return made


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, 30)
    return path


def write(path, count):
    lines = [json.dumps({"instruction": f"Say {n}", "output": str(n)}) for n in range(count)]
    path.write_text("\n".join(lines))


def planned(home, model, rows, **more):
    given = {"model.path": str(model), "data.path": str(rows), **more}
    return make_plan({"method": "sft", "adapter": "lora"}, given, home=home)


def test_a_second_plan_takes_the_counts_of_the_first(home, tiny_model, rows, counts):
    first, second = (planned(home, tiny_model, rows) for _ in range(2))
    assert len(counts) == 1
    assert first.data == second.data
    assert first.hash == second.hash


def test_changed_rows_or_choices_are_counted_again(home, tiny_model, rows, counts):
    planned(home, tiny_model, rows)
    planned(home, tiny_model, rows, **{"data.eval_share": 0.3})
    write(rows, 31)
    planned(home, tiny_model, rows)
    assert len(counts) == 3


def test_a_damaged_note_is_counted_again(home, tiny_model, rows, counts):
    planned(home, tiny_model, rows)
    for note in (home.cache / "system" / "surveys").iterdir():
        note.write_text("{")
    planned(home, tiny_model, rows)
    assert len(counts) == 2
