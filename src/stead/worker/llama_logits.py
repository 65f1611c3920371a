"""Ask llama.cpp what it makes of a GGUF file: `python -m stead.worker.llama_logits questions.json`.

Knows nothing about references or verdicts. A process of its own, because a damaged file can end the
one that loads it. It holds one xllamacpp server on loopback and writes `answers.json` beside the
questions: rendered chats, token ids, the ids that end an answer, log-probabilities after prefixes.
"""

import http.client
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

from stead.core import files
from stead.core.events import EventLog, Progress

_TIMEOUT_S = 600.0
_FORCE = 1e9  # a logit bias no other token can beat


class Server:
    """The embedded llama.cpp server of one file; asked over loopback, as a client would."""

    def __init__(self, model: str, context: int, threads: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_ctx = context
        params.n_parallel = 1
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.n_gpu_layers = 0  # the reference is computed on the CPU in float32
        # Rounding of the file is measured, not that of a half-precision cache or attention kernel.
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.use_jinja = True
        params.prefill_assistant = False  # a closed chat is rendered as it is
        params.warmup = False
        params.cache_ram_mib = 0
        params.verbosity = 1
        self._server = xllamacpp.Server(params)
        address = urlsplit(self._server.listening_address)
        self._connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=_TIMEOUT_S
        )

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
        """Post JSON and return the answer; a refusal comes back as {"error": …}."""
        self._connection.request(
            "POST", path, json.dumps(body), {"content-type": "application/json"}
        )
        reply = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(reply.read())
        return answer if reply.status < 400 else {"error": answer.get("error", answer)}

    def render(self, chat: dict[str, Any]) -> str | None:  # Any: JSON values
        """Render a chat with the file's own template; None when the template refuses it."""
        answer = self.ask("/apply-template", chat)
        return None if "error" in answer else str(answer["prompt"])

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return token ids; `special` adds BOS where the file says so."""
        body = {"content": text, "add_special": special, "parse_special": True}
        return [int(i) for i in self.ask("/tokenize", body)["tokens"]]

    def ends(self, token: int, prefix: list[int]) -> bool:
        """Say whether `token` ends an answer: it is forced once, and the server must stop."""
        body = {"prompt": prefix, "n_predict": 2, "logit_bias": [[token, _FORCE]], "top_k": 1}
        return bool(self.ask("/completion", body).get("stop_type") == "eos")

    def after(self, prefix: list[int], top: int, chosen: int) -> list[list[float]]:
        """Return [id, log-probability] of the `top` likeliest next tokens; full softmax, no sampling.

        `chosen` is forced as the token that is then written: the server leaves the list out when
        that one is half a character. The bias acts on sampling, not on the list.
        """
        body = {
            "prompt": prefix, "n_predict": 1, "n_probs": top, "temperature": 0,
            "cache_prompt": True, "ignore_eos": True, "logit_bias": [[chosen, _FORCE]],
        }  # fmt: skip
        answer = self.ask("/completion", body)
        if "error" in answer:
            raise RuntimeError(f"llama.cpp refused {len(prefix)} tokens: {answer['error']}")
        found = answer["completion_probabilities"][0]["top_logprobs"]
        return [[int(item["id"]), float(item["logprob"])] for item in found]


def answer(questions: dict[str, Any], log: EventLog) -> dict[str, Any]:  # Any: JSON values
    """Answer every question of one file."""
    server = Server(questions["model"], questions["context"], questions["threads"])
    renders = [server.render(chat) for chat in questions["chats"]]
    chosen = server.tokenize("a", special=False)[-1]
    logprobs = []
    done = 0
    for sequence, lengths in zip(questions["sequences"], questions["lengths"], strict=True):
        rows = []
        for length in lengths:
            rows.append(server.after(sequence[:length], questions["top"], chosen))
            done += 1
            log(Progress(stage="parity", done=done))
        logprobs.append(rows)
    return {
        "renders": renders,
        "chat_ids": [None if r is None else server.tokenize(r, special=True) for r in renders],
        "text_ids": [server.tokenize(text, special=False) for text in questions["texts"]],
        "empty_ids": server.tokenize("", special=True),
        "ends": [i for i in questions["stops"] if server.ends(i, questions["sequences"][0][:4])],
        "logprobs": logprobs,
    }


def main(path: Path) -> int:
    """Answer the questions in `path`; return the exit status."""
    log = EventLog(path.parent / "questions-events.jsonl")
    files.write_json(path.parent / "answers.json", answer(files.read_json(path), log))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
