"""Fake programs on a PATH of their own; each is a real executable started by the real code."""

import os
import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).resolve().parents[2] / "fakes" / "engines"


@pytest.fixture
def put_program(tmp_path, monkeypatch):
    """Return `put(name, script, *first)`: an executable `name` that runs a fake with `first` arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name, script, *first):
        words = " ".join(f"'{w}'" for w in (sys.executable, FAKES / script, *first))
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        os.chmod(path, 0o755)
        return path

    return put
