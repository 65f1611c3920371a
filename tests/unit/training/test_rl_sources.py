"""Answers from engines: token ids and log-probabilities, the adapter of the step, honest resumes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.fakes import rl

from stead.core.errors import CheckpointError, ConfigError, Interrupted, TrainingError
from stead.core.process import stop_requested
from stead.exporting.run import run_export
from stead.models.load import load_model
from stead.values import PreparedData


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    stop_requested.clear()


@pytest.fixture(scope="module")
def data(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return rl.rows(tmp_path_factory.mktemp("rl"), tiny_model)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def to_gguf(weights: Path, out: Path, quant: str) -> None:
    run_export(str(weights), str(out), format="gguf", quant=quant)


def test_llama_cpp_draws_with_the_weights_of_each_step(
    tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """Its log-probabilities are those of the trained weights, adapter and all: only rounding apart."""
    pytest.importorskip("xllamacpp")
    method = rl.config(sampler={"engine": "llama_cpp", "quant": "f32"}, num_generations=2)

    rl.run(tiny_model, data, tmp_path, "grpo", method_config=method, max_steps=2, lr=0.05,
           adapter_config={"dropout": 0.0}, to_gguf=to_gguf)  # fmt: skip

    steps = log(tmp_path)
    assert 0 < steps[-1]["sampler_gap"] < 1e-3  # keys and values in half precision there
    assert all(s["ratio"] == 1.0 and s["completion_length"] == 6 for s in steps)
    assert not (tmp_path / "method" / "sampler").exists()


class Vllm(BaseHTTPRequestHandler):
    """What vLLM's server does for adapters and completions; answers with the likeliest tokens."""

    loaded: dict[str, Any]
    base: Path
    says_ids = True
    offset = 0.0  # added to the log-probabilities: an engine that rounds otherwise

    def log_message(self, *_: Any) -> None:
        return

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = 200, {}
        if self.path == "/v1/load_lora_adapter":
            model = load_model(
                self.base, dtype="fp32", device="cpu", adapter=Path(asked["lora_path"])
            )
            self.loaded[asked["lora_name"]] = model
        elif self.path == "/v1/unload_lora_adapter":
            del self.loaded[asked["lora_name"]]
        elif self.path != "/v1/completions" or asked["model"] not in self.loaded:
            status, body = 404, {"error": {"message": "no such model"}}
        else:
            body = self.answer(asked)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(asked["seed"])
        ids, drawn, logs = list(asked["prompt"]), [], []
        for _ in range(asked["max_tokens"]):
            with torch.no_grad():
                out = self.loaded[asked["model"]].model(input_ids=torch.tensor([ids])).logits[0, -1]
            drawn.append(int(torch.multinomial(out.softmax(-1), 1, generator=draw)))
            logs.append(float(out.log_softmax(-1)[drawn[-1]]) + self.offset)
            ids.append(drawn[-1])
            if drawn[-1] in asked["stop_token_ids"]:
                break
        names = [f"token_id:{i}" if self.says_ids else "text" for i in drawn]
        ended = "stop" if drawn[-1] in asked["stop_token_ids"] else "length"
        kept = {"tokens": names, "token_logprobs": logs, "top_logprobs": None, "text_offset": []}
        return {
            "id": "1", "model": asked["model"], "created": 1,
            "choices": [{"text": "", "index": 0, "logprobs": kept, "finish_reason": ended}],
        }  # fmt: skip


@pytest.fixture
def vllm(tiny_model: Path) -> Iterator[tuple[str, type[Vllm]]]:
    kind = type("Mine", (Vllm,), {"loaded": {}, "base": tiny_model})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", kind
    server.shutdown()
    server.server_close()


def run(model: Path, data: PreparedData, out: Path, url: str, **more: Any) -> dict[str, Any]:
    sampler = {"engine": "vllm", "url": url} | more.pop("sampler", {})
    method = rl.config(sampler=sampler, num_generations=2, max_completion_length=4)
    settings = {"max_steps": 2, "lr": 0.05, "adapter_config": {"dropout": 0.0}} | more
    return rl.run(model, data, out, "grpo", method_config=method, **settings)


def test_vllm_gets_the_adapter_of_each_step_and_forgets_the_former(
    vllm: tuple[str, type[Vllm]], tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    url, server = vllm

    run(tiny_model, data, tmp_path, url)

    assert [name.rpartition("-")[2] for name in server.loaded] == ["1"]
    assert max(s["sampler_gap"] for s in log(tmp_path)) < 1e-5


def test_draws_that_training_finds_likelier_count_more_up_to_the_cap(
    vllm: tuple[str, type[Vllm]], tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """The engine's numbers are log 4 too low: every weight would be 4, the cap makes it 1.5."""
    url, server = vllm
    plain = tmp_path / "plain"
    run(tiny_model, data, plain, url, max_steps=1)
    server.offset = -1.3862943611198906

    run(tiny_model, data, tmp_path / "off", url, max_steps=1, sampler={"cap": 1.5})

    one, other = log(plain)[0], log(tmp_path / "off")[0]
    assert other["grad_norm"] == pytest.approx(1.5 * one["grad_norm"], rel=1e-4)  # float32


def test_what_an_engine_cannot_do_is_refused(
    vllm: tuple[str, type[Vllm]], tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    url, server = vllm
    with pytest.raises(ConfigError, match="whole weights"):
        run(tiny_model, data, tmp_path / "a", url, adapter="full", adapter_config={})
    with pytest.raises(TrainingError, match="404"):
        run(tiny_model, data, tmp_path / "b", f"{url}/elsewhere")
    server.says_ids = False
    with pytest.raises(TrainingError, match="only their text"):
        run(tiny_model, data, tmp_path / "c", url)


def test_a_resume_is_not_taken_for_exact(
    vllm: tuple[str, type[Vllm]], tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    url, _ = vllm

    def stop(event: Any) -> None:
        if getattr(event, "done", None) == 1:
            stop_requested.set()

    with pytest.raises(Interrupted):
        run(tiny_model, data, tmp_path, url, emit=stop)
    stop_requested.clear()
    with pytest.raises(CheckpointError, match="asked"):
        run(tiny_model, data, tmp_path, url, resume=True)

    assert run(tiny_model, data, tmp_path, url, resume="same-order")["resume_level"] == "same-order"


def test_the_adapter_an_engine_gets_is_the_one_that_is_written_at_the_end(
    vllm: tuple[str, type[Vllm]], tiny_model: Path, data: PreparedData, tmp_path: Path
) -> None:
    """With a learning rate of 0 the weights of the last generation are the final ones."""
    url, _ = vllm
    run(tiny_model, data, tmp_path, url, max_steps=1, lr=0.0)

    folder = next((tmp_path / "method" / "sampler").iterdir())
    sent, final = (load_file(p / "adapter_model.safetensors") for p in (folder, tmp_path / "final"))
    assert sent.keys() == final.keys()
    assert all(torch.equal(sent[n], final[n]) for n in sent)
