"""The model programs of a strategy: found, started, fetched; and what cannot work says why."""

import asyncio
import json

import pytest
from tests.fakes.programs import put_program  # noqa: F401 - a fixture
from tests.fakes.strategies import ask, made, one

from stead.app.programs import program
from stead.core.errors import SteadError
from stead.engines.ollama_api import OllamaApi
from stead.engines.program import free_port


def backend_of(home, kind, **config):
    text = f"components:\n  model_app: {{type: {kind}, config: {json.dumps(config)}}}\n"
    found = one(text + "optimization: {retry_policy: {max_attempts: 1}}")
    composed = made(found, local=lambda spec: program(spec, home))
    return composed, composed.candidates[0]


@pytest.mark.spec("000-019", "000-030")
def test_ollama_is_started_and_the_model_fetched_at_the_first_use(put_program, home, monkeypatch):  # noqa: F811
    put_program("ollama", "ollama_program.py")
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", url)
    models = [{"name": "tiny:latest", "pull_on_start": True}]
    found = one(
        f"components:\n  model_app: {{type: ollama, config: {json.dumps({'base_url': url, 'models': models})}}}"
    )
    spec_backend = []
    made(found, local=lambda spec: spec_backend.append(program(spec, home)) or spec_backend[0])
    ollama = spec_backend[0]

    started = ollama.start()

    async def stored():
        api = OllamaApi(started.url)
        try:
            return {m.name for m in await api.stored()}
        finally:
            await api.close()

    try:
        assert "tiny:latest" in asyncio.run(stored())
    finally:
        asyncio.run(ollama.close())
    with pytest.raises(SteadError):
        asyncio.run(stored())


async def test_a_model_that_is_not_here_is_a_candidate_with_a_reason(home):
    composed, candidate = backend_of(home, "llamacpp", default_model="no-such-model")

    assert "no-such-model" in candidate.unavailable
    with pytest.raises(SteadError) as found:
        await composed.backend.generate(ask())
    assert found.value.code == "no-candidate"


async def test_an_ollama_that_is_neither_running_nor_installed_is_an_error_of_the_request(
    home, monkeypatch
):
    monkeypatch.setenv("PATH", "/nowhere")
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("STEAD_ENGINES_OLLAMA_URL", url)
    composed, candidate = backend_of(home, "ollama", base_url=url, default_model="m", timeout=5)

    assert candidate.unavailable is None
    with pytest.raises(SteadError) as found:
        await composed.backend.generate(ask())
    assert found.value.code == "connection-refused"
    await composed.backend.close()


def test_gpu_layers_and_threads_reach_the_engine(home, tiny_gguf):
    found = []
    config = {"default_model": str(tiny_gguf), "gpu_layers": 0, "num_thread": 2, "context_size": 99}
    text = f"components:\n  model_app: {{type: llamacpp, config: {json.dumps(config)}}}"
    made(one(text), local=lambda spec: found.append(program(spec, home)) or found[0])
    order = found[0].order

    assert (order.gpu_layers, order.threads, order.context) == (0, 2, 99)
