"""Files to mappings: types, places, refusals, merging, substitution."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stead.config import load
from stead.config.document import assign, merge_maps, substitute
from stead.core.errors import ConfigError, NotFound, UsageError

SAME = {
    "a.yaml": "trainer:\n  lr: 1e-4\n  betas: [0.9, 0.95]\nname: on\n",
    "a.yml": "trainer: {lr: 0.0001, betas: [0.9, 0.95]}\nname: 'on'\n",
    "a.json": '{"trainer": {"lr": 1e-4,\n "betas": [0.9, 0.95]}, "name": "on"}',
    "a.toml": 'name = "on"\n[trainer]\nlr = 1e-4\nbetas = [0.9, 0.95]\n',
}


@pytest.mark.spec("000-083", "003-027")
@pytest.mark.parametrize("name", SAME)
def test_every_ending_gives_the_same_mapping(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SAME[name])

    found = load.read(tmp_path / name)

    assert found.data == {"trainer": {"lr": 1e-4, "betas": [0.9, 0.95]}, "name": "on"}


@pytest.mark.spec("000-083")
@pytest.mark.parametrize("name", ["a.ini", "a", "a.yaml.txt"])
def test_another_ending_is_an_error_naming_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a: 1")

    with pytest.raises(ConfigError, match=r"\.yaml, \.yml, \.json, \.toml") as caught:
        load.read(tmp_path / name)

    assert caught.value.code == "unknown-suffix"


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", "duplicate-key", "x.yaml:4"),
        ("a: [1\nb: 2", "bad-yaml", "x.yaml:2"),
        ("a: .nan", "not-finite", "x.yaml:1"),
        ("a: 1\nb: -.inf", "not-finite", "x.yaml:2"),
        ("- 1", "not-a-mapping", "x.yaml:1"),
        ("", "empty", "x.yaml"),
        ("a: 1\n2: b", "bad-key", "x.yaml:2"),
        ("a: !!python/object:os.system x", "bad-yaml", "x.yaml:1"),
        ("a: &x [*x]", "too-large", "x.yaml:1"),
        ("[" * 3000, "too-large", "x.yaml"),
        (f"a: {'9' * 5000}", "bad-value", "x.yaml:1"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, code: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse_yaml(text, "x.yaml")

    assert (caught.value.code, place in caught.value.message) == (code, True)


def test_aliases_cannot_multiply_without_end() -> None:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]

    with pytest.raises(ConfigError, match="too many"):
        load.parse_yaml("\n".join(lines), "x.yaml")


@pytest.mark.parametrize(
    ("text", "code"),
    [('{"a": 1, "a": 2}', "duplicate-key"), ('{"a": NaN}', "not-finite"), ("{,}", "bad-json")],
)
def test_json_is_as_strict(text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse_json(text, "x.json")

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [("a = nan", "not-finite"), ("a = 2020-01-01", "bad-value"), ("a = ", "bad-toml")],
)
def test_toml_is_as_strict(text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse_toml(text, "x.toml")

    assert caught.value.code == code


def test_a_missing_file_and_a_wrong_encoding_are_typed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: \xff\xfe")

    with pytest.raises(NotFound):
        load.read(tmp_path / "none.yaml")
    with pytest.raises(ConfigError) as caught:
        load.read(tmp_path / "a.yaml")

    assert caught.value.code == "not-utf8"


def test_places_name_file_and_line_of_every_key() -> None:
    found = load.parse_yaml("a: 1\nb:\n  - c: 2\n  - d:\n      e: 3\n", "r.yaml")

    assert found.places == {
        "a": "r.yaml:1",
        "b": "r.yaml:2",
        "b.0": "r.yaml:3",
        "b.0.c": "r.yaml:3",
        "b.1": "r.yaml:4",
        "b.1.d": "r.yaml:4",
        "b.1.d.e": "r.yaml:5",
    }


@pytest.mark.spec("000-084", "000-014")
def test_merging_is_deep_and_the_later_wins() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 0}

    merged = merge_maps(base, {"a": {"y": [3], "z": None}, "b": {"c": 1}})

    assert merged == {"a": {"x": 1, "y": [3], "z": None}, "b": {"c": 1}}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 0}


@pytest.mark.spec("000-084")
@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.integers()))
@settings(max_examples=50, deadline=None)
def test_merging_flat_mappings_is_what_the_sketch_does(
    base: dict[str, int], over: dict[str, int]
) -> None:
    assert merge_maps(base, over) == {**base, **over}


@pytest.mark.spec("000-059", "000-014")
def test_variables_are_replaced_anywhere_in_a_text() -> None:
    document = load.parse_yaml("a: ${ROOT}/x\nb: [\"${N:-7}\", '$${ROOT}']\n", "r.yaml")

    found = substitute(document, {"ROOT": "/r"})

    assert found.data == {"a": "/r/x", "b": ["7", "${ROOT}"]}


@pytest.mark.spec("000-059")
def test_an_unset_variable_is_named_with_its_key_and_line() -> None:
    document = load.parse_yaml("a: 1\nb:\n  c: ${API_KEY}\n", "r.yaml")

    with pytest.raises(ConfigError) as caught:
        substitute(document, {})

    assert caught.value.message == "r.yaml:3: b.c needs the variable 'API_KEY', which is not set"
    assert caught.value.hint == "export API_KEY=…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trainer.lr=1e-4", ("trainer.lr", 1e-4)),
        ("a=true", ("a", True)),
        ("a=on", ("a", "on")),
        ("a=0", ("a", 0)),
        ("a=", ("a", "")),
        ("a=null", ("a", None)),
        ("a=[1, 2]", ("a", [1, 2])),
        ("a=x=y", ("a", "x=y")),
        ("a=@file", ("a", "@file")),
        ("a=# 1", ("a", "# 1")),
        ("a=2024-01-01", ("a", "2024-01-01")),
    ],
)
def test_an_assignment_has_a_value_of_its_type(text: str, expected: tuple[str, object]) -> None:
    assert load.assignment(text) == expected


@pytest.mark.parametrize("text", ["trainer.lr", "=1", "a=.nan"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.assignment(text)

    assert caught.value.code == "bad-assignment"


def test_assigning_through_a_plain_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a' is 3, it has no keys"):
        assign(load.parse_yaml("a: 3", "r.yaml"), {"a.b": 1}, "option -s a.b")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.spec("003-027")
@given(st.dictionaries(st.text(), JSON, max_size=5))
@settings(max_examples=100, deadline=None)
def test_what_is_dumped_as_yaml_reads_back_equal(data: dict[str, object]) -> None:
    assert load.parse_yaml(load.dump_yaml(data), "x.yaml").data == data


@given(st.text(max_size=60), st.sampled_from(["yaml", "json", "toml"]))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_with_a_typed_error(text: str, kind: str) -> None:
    parse = {"yaml": load.parse_yaml, "json": load.parse_json, "toml": load.parse_toml}[kind]

    with suppress(UsageError):
        assert isinstance(parse(text, "x").data, dict)


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_a_dumped_file_reads_back(tmp_path: Path, name: str) -> None:
    load.dump(tmp_path / name, {"a": {"b": "1e-4", "c": 1e-4}})

    assert load.read(tmp_path / name).data == {"a": {"b": "1e-4", "c": 1e-4}}
