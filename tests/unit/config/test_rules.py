"""The language of conditions: what it says, where it refuses, and that asking never fails."""

import string
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stead.config import rules
from stead.core.errors import ConfigError


def facts(text="hello Code", tags=(), **more):
    given = {
        "text": text, "length": len(text), "tokens": 5, "turns": 1, "model": "m", "is_code": False,
        "requires_vision": False, "requires_tools": False, "requires_json": False,
    }  # fmt: skip
    return SimpleNamespace(**given | more, tags=frozenset(tags))


@pytest.mark.spec("000-042")
@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("input.length > 2000", False),
        ("input.length >= 10 and input.length <= 10", True),
        ('input.contains("code")', True),
        ("input.text.contains('x', 'HELLO')", True),
        ("input.requires_vision", False),
        ("not input.is_code", True),
        ("! input.is_code && (input.tokens == 5 || urgent)", True),
        ("urgent", True),
        ('tags.contains("urg")', False),
        ('tags.contains("x", "urgent")', True),
        ('input.model == "m"', True),
        ("input.model != 'm' or false", False),
        ("true and not not true", True),
        ("input.turns < 1.5", True),
        ("very-urgent", False),
    ],
)
def test_a_condition_means_what_it_says(condition, wanted) -> None:
    assert rules.parse(condition).holds(facts(tags=["urgent"])) is wanted


@pytest.mark.parametrize(
    ("condition", "column", "words"),
    [
        ("input.lenght > 3", 1, "did you mean 'input.length'"),
        ("input.length", 1, "neither true nor false"),
        ("a and 3", 7, "neither true nor false"),
        ("3 and a", 3, "neither true nor false"),
        ("a b", 3, "expected and, or or the end"),
        ("a and", 6, "expected a value"),
        ("(a", 3, "expected ')'"),
        ("input.length > 'x'", 1, "cannot be compared"),
        ("'a' < 'b'", 1, "cannot be compared"),
        ("tags == tags", 1, "cannot be compared"),
        ("a $ b", 3, "cannot read"),
        ("input.contains(3)", 16, "expected a text"),
        ("input.length.contains('x')", 1, "there is no"),
        ("nothing.contains('x')", 1, "there is no 'nothing'"),
        ("", 1, "expected a value"),
        ('"open', 1, "cannot read"),
        ("12ab", 1, "cannot read"),
        ("__import__('os')", 11, "expected and"),
    ],
)
def test_a_wrong_condition_is_refused_with_its_column(condition, column, words) -> None:
    with pytest.raises(ConfigError) as found:
        rules.parse(condition)

    assert found.value.code == "bad-condition"
    assert words in found.value.message
    assert found.value.details["column"] == column


def test_size_and_depth_are_bounded() -> None:
    with pytest.raises(ConfigError, match="at most 1000"):
        rules.parse("a or " * 250 + "a")
    for deep in ("(" * 40 + "a" + ")" * 40, "not " * 40 + "a"):
        with pytest.raises(ConfigError, match="levels"):
            rules.parse(deep)
    assert rules.parse("(" * 30 + "a" + ")" * 30).holds(facts(tags=["a"]))


@given(st.text(alphabet=string.printable, max_size=60))
def test_any_text_is_a_condition_or_refused(text) -> None:
    try:
        condition = rules.parse(text)
    except ConfigError:
        return
    assert condition.holds(facts()) in (True, False)


_WORDS = [
    "(", ")", "and", "or", "not", "true", "false", "urgent", "<", "==", ">=", "1", "20", "'code'",
    "input.length", "input.text", "input.is_code", "input.model", "input.contains('a')", "tags",
]  # fmt: skip


@given(st.lists(st.sampled_from(_WORDS), max_size=14))
def test_what_parses_never_fails_to_answer(words) -> None:
    try:
        condition = rules.parse(" ".join(words))
    except ConfigError:
        return
    for tags in ((), ("urgent",)):
        assert condition.holds(facts(tags=tags)) in (True, False)


_ATOMS = {"a": True, "b": False, "c": True, "true": True, "false": False}


@st.composite
def logic(draw, depth=3):
    """Return a condition of tags, and its value by Python's own logic."""
    kind = draw(st.sampled_from(["atom", "not", "and", "or"])) if depth else "atom"
    if kind == "atom":
        name = draw(st.sampled_from(sorted(_ATOMS)))
        return name, _ATOMS[name]
    left, value = draw(logic(depth - 1))
    if kind == "not":
        return f"not ({left})", not value
    right, other = draw(logic(depth - 1))
    return f"({left}) {kind} ({right})", (value and other) if kind == "and" else (value or other)


@given(logic())
def test_logic_is_pythons(case) -> None:
    text, wanted = case

    assert rules.parse(text).holds(facts(tags=["a", "c"])) is wanted


@given(st.lists(st.sampled_from(["a", "b", "and", "or", "not"]), min_size=1, max_size=9))
def test_precedence_is_pythons(words) -> None:
    source = " ".join(words)
    try:
        wanted = compile(source, "", "eval")
    except SyntaxError:
        with pytest.raises(ConfigError):
            rules.parse(source)
        return
    value = eval(wanted, {"__builtins__": {}}, {"a": True, "b": False})

    assert rules.parse(source).holds(facts(tags=["a"])) is value
