import pytest

from stead.core.paths import Home


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A data directory of its own for each test."""
    monkeypatch.setenv("STEAD_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")
