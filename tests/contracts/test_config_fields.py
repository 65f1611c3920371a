"""Every knob is live: each key of a recipe is read by the code that does the work."""

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from stead.config.kinds import registry
from stead.config.run import DataSource, ExportSection, RunConfig
from stead.config.validate import keys

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "stead"
OWNED = [(k, n) for k in ("method", "adapter", "policy") for n in registry(k).names()]


def names_read() -> set[str]:
    """Return every attribute and text that the code outside `config` and `planning` mentions."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in ("config", "planning"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_key_is_read_where_the_work_is_done() -> None:
    leaves = [*keys(RunConfig, {}), *DataSource.model_fields, *ExportSection.model_fields]

    read = names_read()
    unread = {key for key in leaves if key.rpartition(".")[2] not in read}

    assert unread == set()


@pytest.mark.spec("000-026")
@pytest.mark.parametrize(("kind", "name"), OWNED)
def test_the_config_of_an_extension_is_frozen_strict_and_described(kind: str, name: str) -> None:
    config = registry(kind).config_of(name)

    with pytest.raises(ValidationError, match="Extra inputs"):
        config.model_validate({"type": name, "no_such_key": 1})
    with pytest.raises(ValidationError, match="frozen"):
        config.model_validate({"type": name}).type = "other"
    assert config.model_validate({}).type == name
    assert [n for n, f in config.model_fields.items() if n != "type" and not f.description] == []


@pytest.mark.spec("000-026", "000-077")
@pytest.mark.parametrize(
    "kind",
    [
        "method",
        "adapter",
        "trainer",
        "optimizer",
        "tracker",
        "callback",
        "scorer",
        "exporter",
        "reader",
        "format",
        "policy",
        "backend",
    ],
)
def test_every_file_of_a_kind_holds_exactly_one_extension(kind: str) -> None:
    found = registry(kind)

    assert found.names()
    assert all(issubclass(found.get(name), found.base) for name in found.names())
