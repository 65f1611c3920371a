"""Fake programs on a PATH of their own; each is a real executable started by the real code."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from stead.core import process
from stead.core.errors import BackendError
from stead.engines.ollama_api import OllamaApi
from stead.engines.program import free_port

FAKES = Path(__file__).resolve().parent / "engines"


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


@pytest.fixture
def ollama_server(put_program, tmp_path, monkeypatch):
    """A running Ollama that somebody else started; its address is the setting."""
    program = put_program("ollama", "ollama_program.py", "--fake-log", tmp_path / "log")
    address = f"127.0.0.1:{free_port()}"
    child = process.spawn([str(program), "serve"], name="ollama", env={"OLLAMA_HOST": address})
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", f"http://{address}")

    async def up():
        api = OllamaApi(f"http://{address}")
        for _ in range(200):
            try:
                return await api.version()
            except BackendError:
                await asyncio.sleep(0.05)
            finally:
                await api.close()

    asyncio.run(up())
    yield f"http://{address}"
    child.stop()
