"""Fixtures of place: a data directory for each test, and a hub's library that may speak on loopback."""

import huggingface_hub.constants
import pytest

from stead.app.plugins import Plugins
from stead.config.kinds import registry
from stead.core.paths import Home


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A data directory of its own for each test, as a value."""
    monkeypatch.setenv("STEAD_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """Let the hub's library speak, to the loopback hub: the suite's switch is off for all others."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def plugins(home):
    """The plugins of a data directory; what they add to registries is gone after the test."""
    registry.cache_clear()
    yield Plugins(home, [home.plugins])
    registry.cache_clear()


def place_plugin(home, kind, name, text):
    """Write a plugin's file; return its path."""
    path = home.plugins / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
