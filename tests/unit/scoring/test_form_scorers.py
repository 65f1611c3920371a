"""Scorers of an answer's form, as rewards use them."""

import pytest

from stead.core.errors import ConfigError, EvaluationError
from stead.scoring.scorer import Sample, create


def value(name: str, answer: str, reference: str = "", **meta: object) -> float:
    return create([name])[name].score(Sample("?", answer, reference, meta=dict(meta))).value


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        (r"pattern:^<think>.*</think>", "<think>a\nb</think> 4", 1.0),
        (r"pattern:^<think>.*</think>", "4", 0.0),
        (r"pattern:#### \d+$", "so\n#### 42", 1.0),
    ],
)
def test_a_form_is_found_or_not(name: str, answer: str, expected: float) -> None:
    assert value(name, answer) == expected


def test_a_reference_can_be_the_form() -> None:
    assert value("pattern", "about 42 dogs", r"\b42\b") == 1.0
    with pytest.raises(EvaluationError, match="no expression"):
        value("pattern", "x", "(")


@pytest.mark.parametrize(
    ("tokens", "expected"), [(0, 1.0), (6, 1.0), (8, 0.5), (10, 0.0), (99, 0.0)]
)
def test_long_answers_lose_value_in_a_line(tokens: int, expected: float) -> None:
    assert value("brevity:6-10", "whatever", tokens=tokens) == expected


def test_without_bounds_the_reference_says_how_long() -> None:
    assert value("brevity", "a b", "x y") == 1.0
    assert value("brevity", "a b c", "x y") == 0.5


@pytest.mark.parametrize("name", ["brevity:9", "brevity:9-3", "brevity:a-b", "pattern:("])
def test_bad_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigError) as found:
        create([name])

    assert found.value.code == "unknown-option"
