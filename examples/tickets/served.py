"""Start `stead serve` on a GGUF file and ask it with the official OpenAI client.

Knows nothing about how the file was made.
"""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from openai import OpenAI


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(client: OpenAI, process: "subprocess.Popen[bytes]", limit_s: float) -> str:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"stead serve ended with status {process.returncode}")
        try:
            return client.models.list().data[0].id
        except Exception:
            time.sleep(0.1)
    sys.exit(f"the server did not answer within {limit_s} s")


def ask(gguf: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Serve `gguf`, send each row's prompt, and return the answers with the time they took."""
    started = time.monotonic()
    port = free_port()
    print(f"\n$ stead serve --model {gguf} --port {port}", flush=True)
    command = [sys.executable, "-m", "stead", "serve", "--model", str(gguf), "--port", str(port)]
    process = subprocess.Popen(command)
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    try:
        model = _wait(client, process, 60)
        answers = [_one(client, model, row["messages"]) for row in rows]
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    seconds = round(time.monotonic() - started, 2)
    return {"model": model, "answers": answers, "wall_s": seconds}


def _one(client: OpenAI, model: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    prompt, wanted = messages[:-1], messages[-1]["content"]
    started = time.monotonic()
    reply = client.chat.completions.create(
        model=model,
        messages=prompt,  # type: ignore[arg-type]  # plain dicts are what the client documents
        temperature=0,
        max_tokens=160,
    )
    text = reply.choices[0].message.content or ""
    print(f"  > {prompt[-1]['content'][:100]}…\n  < {text}", flush=True)
    return {
        "prompt": prompt[-1]["content"],
        "answer": text,
        "wanted": wanted,
        "equal": text.strip() == wanted.strip(),
        "valid_json": _is_json(text),
        "seconds": round(time.monotonic() - started, 3),
        "completion_tokens": reply.usage.completion_tokens if reply.usage else None,
    }


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
