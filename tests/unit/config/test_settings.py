"""Settings: precedence for every pair of sources and every falsy value, variables, .env, aliases."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from stead.app.database import open_database
from stead.config import load
from stead.config.kinds import Section
from stead.config.settings import read_env, read_settings, resolve, variable
from stead.core.errors import ConfigError
from stead.core.paths import Home


class Inner(Section):
    """Settings of every type."""

    count: int = Field(default=5, description="a number")
    rate: float = Field(default=0.5, description="a share")
    on: bool = Field(default=True, description="a switch")
    word: str = Field(default="default", description="a text")
    names: tuple[str, ...] = Field(default=("x",), description="a list")


class Sample(Section):
    """A root with a section."""

    inner: Inner = Field(default=Inner(), description="a section")


VALUES: dict[str, tuple[Any, Any, str]] = {
    # key: a falsy value, another value, the falsy value as a variable's text
    "inner.count": (0, 7, "0"),
    "inner.rate": (0.0, 0.25, "0"),
    "inner.on": (False, True, "false"),
    "inner.word": ("", "w", ""),
    "inner.names": ([], ["a", "b"], ""),
}
SOURCES = ("call", "environment", "mapping", "file")  # the winner first


def nested(key: str, value: object) -> dict[str, Any]:
    section, _, name = key.partition(".")
    return {section: {name: value}}


def given(source: str, key: str, value: Any) -> dict[str, Any]:
    if source == "call":
        return {"call": {key: value}}
    if source == "environment":
        text = ",".join(value) if isinstance(value, list) else str(value)
        return {"environment": {variable(key): text}}
    if source == "mapping":
        return {"mapping": nested(key, value)}
    return {"file": load.parse_yaml(load.dump_yaml(nested(key, value)), "f.yaml")}


@pytest.mark.spec("004-040")
@pytest.mark.parametrize("key", VALUES)
@pytest.mark.parametrize(("winner", "loser"), list(itertools.combinations(SOURCES, 2)))
def test_the_earlier_source_wins_also_with_a_falsy_value(key: str, winner: str, loser: str) -> None:
    falsy, other, _ = VALUES[key]

    found = resolve(Sample, **given(winner, key, falsy), **given(loser, key, other))

    value = getattr(found.value.inner, key.partition(".")[2])
    assert value == (tuple(falsy) if isinstance(falsy, list) else falsy)
    expected = {"environment": f"environment {variable(key)}", "file": "f.yaml:2"}
    assert found.origins[key] == expected.get(winner, winner)


@pytest.mark.spec("004-040")
def test_what_nobody_gave_is_a_default() -> None:
    found = resolve(Sample)

    assert found.value == Sample()
    assert set(found.origins.values()) == {"default"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STEAD_INNER_COUNT", "many"),
        ("STEAD_INNER_COUNT", ""),
        ("STEAD_INNER_COUNT", "1.5"),
        ("STEAD_INNER_RATE", "nan"),
        ("STEAD_INNER_ON", "maybe"),
        ("STEAD_INNER_ON", ""),
    ],
)
def test_a_bad_variable_is_an_error_naming_it_and_its_value(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Sample, environment={name: text})

    assert name in caught.value.message
    assert text in caught.value.message


def test_a_variable_that_is_no_setting_is_noted_with_the_nearest() -> None:
    found = resolve(Sample, environment={"STEAD_INNER_COUTN": "3", "STEAD_HOME": "/h"})

    assert found.notes == ("STEAD_INNER_COUTN is no setting; did you mean 'STEAD_INNER_COUNT'?",)


def test_another_tools_variable_counts_after_our_own_and_a_clash_is_noted() -> None:
    aliases = {"OTHER_COUNT": "inner.count", "THIRD_COUNT": "inner.count"}
    environment = {"OTHER_COUNT": "1", "THIRD_COUNT": "2"}

    alone = resolve(Sample, environment=environment, aliases=aliases)
    own = resolve(Sample, environment=environment | {"STEAD_INNER_COUNT": "1"}, aliases=aliases)

    assert alone.value.inner.count == 1
    assert alone.origins["inner.count"] == "environment OTHER_COUNT"
    assert own.origins["inner.count"] == "environment STEAD_INNER_COUNT"
    assert own.notes == (
        "THIRD_COUNT is not used: STEAD_INNER_COUNT says otherwise and comes first",
    )


@pytest.mark.spec("001-025")
def test_the_env_file_is_read_and_never_overwrites_a_real_variable(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / ".env").write_text("STEAD_LOG_LEVEL=debug\nexport STEAD_OFFLINE='true'\n# x\n")

    alone = read_settings(home, environment={})
    real = read_settings(home, environment={"STEAD_LOG_LEVEL": "error"})

    assert (alone.value.log.level, alone.value.offline) == ("debug", True)
    assert (real.value.log.level, real.value.offline) == ("error", True)


@pytest.mark.parametrize("line", ["no equals", "1A=2", "A B=3"])
def test_a_bad_line_of_an_env_file_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"A=1\n{line}\n")

    with pytest.raises(ConfigError, match=r"\.env:2"):
        read_env(tmp_path / ".env")


def test_quotes_and_comments_of_an_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=\"x # y\"\nB=x # y\nC=\nD='=='\n")

    assert read_env(tmp_path / ".env") == {"A": "x # y", "B": "x", "C": "", "D": "=="}


def test_the_settings_file_is_checked_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("log:\n  levle: debug\n")

    with pytest.raises(ConfigError, match=r"config\.yaml:2: .* did you mean 'log\.level'"):
        read_settings(Home(tmp_path), environment={})


@pytest.mark.spec("002-048")
def test_the_database_of_another_tool_is_a_files_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFORGE_DB_PATH", str(tmp_path / "moved.db"))
    home = Home(tmp_path / "home")

    open_database(home).close()

    assert (tmp_path / "moved.db").is_file()
    assert not home.database.exists()


@pytest.mark.spec("004-046")
def test_the_models_folders_of_another_tool_are_looked_at(tmp_path: Path) -> None:
    found = read_settings(Home(tmp_path), environment={"LLM_FRAMEWORK_MODELS_DIR": "/a,/b"})

    assert found.value.engines.models_dirs == ["/a", "/b"]
    assert found.origins["engines.models_dirs"] == "environment LLM_FRAMEWORK_MODELS_DIR"
