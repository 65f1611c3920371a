"""The generated pages are up to date, and name every command, key, error code and extension."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import reference  # noqa: E402
import rules  # noqa: E402
from stead.config.run import RunConfig  # noqa: E402
from stead.config.validate import keys  # noqa: E402


@pytest.mark.spec("003-085", "000-025")
@pytest.mark.parametrize("page", reference.PAGES)
def test_the_page_says_what_the_code_says(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    made = reference._MARK + reference.PAGES[page]().rstrip() + "\n"

    assert (reference.FOLDER / page).read_text(encoding="utf-8") == made


def test_every_key_of_a_recipe_is_documented() -> None:
    text = (reference.FOLDER / "configuration.md").read_text(encoding="utf-8")

    assert [k for k in keys(RunConfig, {}) if f"| `{k.rpartition('.')[2]}` |" not in text] == []


@pytest.mark.spec("003-025")
def test_every_error_code_is_documented() -> None:
    text = (reference.FOLDER / "errors.md").read_text(encoding="utf-8")
    codes = {
        code
        for source in rules.sources(ROOT, rules.Doors((), (), ()))
        for _, code, _ in rules.raised(source.tree)
    }

    assert [code for code in sorted(codes) if f"| `{code}` |" not in text] == []
