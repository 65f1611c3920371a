"""`stead store` as a user types it, on both databases: backed up, changed, restored, moved from one to the other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.databases import postgres_cluster
from tests.surfaces.conftest import Stead


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_cluster() as cluster:
        yield cluster.url


def rows(stead: Stead) -> dict[str, int]:
    status, out, error = stead("store", "status", "--json")
    assert status == 0, error
    found: dict[str, int] = json.loads(out)["rows"]
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_is_backed_up_restored_and_moved(
    kind: str, stead: Stead, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    if kind == "postgres":
        monkeypatch.setenv("STEAD_DATABASE_URL", request.getfixturevalue("postgres"))
    assert stead("keys", "create", "first")[0] == 0
    before, file = rows(stead), tmp_path / "before"

    portable = ["--portable"] if kind == "postgres" else []
    assert stead("store", "backup", file, *portable)[0] == 0
    assert stead("keys", "create", "second")[0] == 0
    assert rows(stead)["keys"] == before["keys"] + 1
    assert stead("store", "restore", file)[2].count("--yes") == 1
    assert stead("store", "restore", file, "--yes")[0] == 0
    assert rows(stead)["keys"] == before["keys"]

    moved = tmp_path / "moved"
    assert stead("store", "backup", moved, "--portable")[0] == 0
    monkeypatch.delenv("STEAD_DATABASE_URL", raising=False)
    monkeypatch.setenv("STEAD_HOME", str(tmp_path / "other"))
    assert stead("store", "restore", moved, "--yes")[0] == 0
    assert rows(stead)["keys"] == before["keys"]
