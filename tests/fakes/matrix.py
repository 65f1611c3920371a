"""Rows of every kind and small settings, so that any method and any adapter can be trained for a moment.

Settings are found by the names of a config's fields, so that a new method needs no line here unless it
has a field of a new kind without a usable default.
"""

import copy
import json
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.fakes.training import Settings

from stead.config.kinds import registry
from stead.config.run import DataSection
from stead.core.events import ignore
from stead.data.prepare import prepare
from stead.values import LoadedModel, PreparedData

WORDS = ("fox", "dog", "token", "four", "lazy", "quick")


def _turns(i: int, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"the {WORDS[i % 6]} {i}"},
        {"role": "assistant", "content": answer},
    ]


ROWS = {
    "messages": lambda i: {"messages": _turns(i, f"four {WORDS[i % 5]}")},
    "text": lambda i: {"text": f"the quick brown {WORDS[i % 6]} jumps over {i} lazy dogs"},
    "preference": lambda i: {
        "prompt": f"the {WORDS[i % 6]} {i}", "chosen": f"four {i}", "rejected": "a dog",
    },
    "labelled": lambda i: {
        "prompt": f"the {WORDS[i % 6]} {i}", "completion": f"four {i}", "label": i % 2 == 0,
    },
    "prompts": lambda i: {"messages": _turns(i, f"four {WORDS[i % 5]}")},
}  # fmt: skip


def data(kind: str, model: Path, folder: Path) -> PreparedData:
    """Prepare ten rows of this kind."""
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(ROWS[kind](i)) + "\n" for i in range(10)))
    section = DataSection(path=str(path), eval_share=0.0, pack=False, dedupe=False)
    return prepare(section, model, folder / kind, kind_wanted=kind, max_length=64)


def vowels(completions: Sequence[str], **_: Any) -> list[float]:
    """Return the share of vowels: cheap, and rarely constant on random text."""
    return [sum(c in "aeiou" for c in t) / max(1, len(t)) for t in completions]


class _Judge(BaseHTTPRequestHandler):
    """Says A or B by the question's checksum: no taste, but the same one every time."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        letter = "AB"[zlib.crc32(body["messages"][-1]["content"].encode()) % 2]
        message = {"role": "assistant", "content": letter}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply = {"id": "j", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice],
                 "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}  # fmt: skip
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def judge() -> Iterator[str]:
    """Run a judge on loopback; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settings(kind: str, name: str, model: Path, url: str = "") -> dict[str, Any]:
    """Return small values for the fields that this method or adapter has; `url` is a judge's."""
    small = {
        "judge": {"url": url, "model": "judge"},
        "rewards": [{"function": "tests.fakes.matrix:vowels"}],
        "num_generations": 2,
        "max_completion_length": 4,
        "max_new_tokens": 4,
        "teacher": str(model),
        "r": 2,
        "init_r": 3,
        "target_r": 2,
        "tokens": 3,
        "layers": 1,
    }
    fields = registry(kind).config_of(name).model_fields
    return {
        n: v
        for n, v in small.items()
        if n in fields and (n != "layers" or fields[n].annotation is int)
    }


def train(
    base: LoadedModel, prepared: PreparedData, out: Path, *, method: str, adapter: str,
    base_hash: str, resume: bool = False, emit: Any = ignore, url: str = "",
    adapter_config: dict[str, Any] | None = None, **more: Any,
) -> tuple[LoadedModel, dict[str, Any]]:  # fmt: skip
    """Train four steps on a copy of the base; return the model in memory and fit's result.

    `more`: attributes of the trainer's section.
    """
    from stead.training.fit import fit

    given = {} if adapter_config is None else adapter_config
    loaded = replace(base, model=copy.deepcopy(base.model), meta=dict(base.meta))
    result = fit(
        trainer=replace(
            Settings(), **{"max_steps": 4, "epochs": 9.0, "batch_rows": 2, "lr": 5e-3, **more}
        ),
        method_name=method,
        method_config=settings("method", method, base.folder, url),
        adapter_name=adapter,
        adapter_config=settings("adapter", adapter, base.folder) | given,
        prepared=prepared,
        loaded=loaded,
        run_dir=out,
        resume=resume,
        emit=emit,
        lineage={"base_hash": base_hash},
    )
    return loaded, result
