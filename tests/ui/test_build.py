"""The built pages that the wheel carries: made from these sources, small, and asking no other host."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src/stead/web/static"
UI = ROOT / "ui"
pytestmark = pytest.mark.skipif(
    not (STATIC / "built-from.json").is_file(), reason="the pages are not built; run: make ui"
)


def hash_of(sources: list[str]) -> str:
    """Hash names and bytes as `ui/tools/built_from.ts` does."""
    files = [p for name in sources for p in (UI / name, *(UI / name).rglob("*")) if p.is_file()]
    found = hashlib.sha256()
    names = [p.relative_to(UI).as_posix() for p in files]
    for name in sorted(n for n in names if not n.endswith(".d.ts")):
        found.update(f"{name}\0".encode() + (UI / name).read_bytes() + b"\0")
    return found.hexdigest()


def test_built_pages_are_made_from_these_sources():
    told = json.loads((STATIC / "built-from.json").read_text())

    assert told["sha256"] == hash_of(told["sources"]), "the built pages are stale: run make ui"


def test_all_pages_together_are_at_most_300_kb_gzipped():
    sizes = {
        p.name: len(gzip.compress(p.read_bytes())) for p in STATIC.rglob("*.*s") if p.is_file()
    }

    assert sizes
    assert sum(sizes.values()) <= 300_000, sizes


@pytest.mark.spec("002-001")
def test_first_page_loads_nothing_from_another_host():
    page = (STATIC / "index.html").read_text()

    assert 'src="/assets/' in page
    assert "://" not in page
