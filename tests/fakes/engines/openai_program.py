"""A stand-in for llama-server and vLLM: parses their arguments, serves their HTTP, checks their key.

Run as a program of its own. `--fake-…` arguments come first and say how it misbehaves.
"""

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fake-kind", choices=["llama", "vllm"])
    parser.add_argument("--fake-log")
    parser.add_argument("--fake-die", default="")
    parser.add_argument("--fake-loading-s", type=float, default=0.2)
    parser.add_argument("words", nargs="*")
    for name in ("--model", "--alias", "--served-model-name", "--host", "--lora", "--lora-modules"):
        parser.add_argument(name)
    for name in (
        "--port",
        "--parallel",
        "--max-num-seqs",
        "--ctx-size",
        "--max-model-len",
        "--threads",
    ):
        parser.add_argument(name, type=int)
    parser.add_argument("--enable-lora", action="store_true")
    return parser.parse_args()


GIVEN = arguments()
BEGUN = time.monotonic()
KEY = os.environ["LLAMA_API_KEY" if GIVEN.fake_kind == "llama" else "VLLM_API_KEY"]
NAMES = [n for n in (GIVEN.alias, GIVEN.served_model_name) if n]
if GIVEN.lora_modules:
    NAMES.append(GIVEN.lora_modules.partition("=")[0])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, value):
        body = json.dumps(value).encode() if value is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        loading = time.monotonic() - BEGUN < GIVEN.fake_loading_s
        if self.path == "/health" and loading:
            self.reply(
                503,
                {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
            )
        elif self.path == "/health":
            self.reply(200, {"status": "ok"} if GIVEN.fake_kind == "llama" else None)
        elif not self.allowed():
            self.reply(
                401,
                {
                    "error": {
                        "message": "Invalid API Key",
                        "type": "authentication_error",
                        "code": 401,
                    }
                },
            )
        else:
            self.reply(
                200, {"object": "list", "data": [{"id": n, "object": "model"} for n in NAMES]}
            )

    def allowed(self):
        return self.headers.get("Authorization") == f"Bearer {KEY}"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return self.reply(
                401,
                {
                    "error": {
                        "message": "Invalid API Key",
                        "type": "authentication_error",
                        "code": 401,
                    }
                },
            )
        if asked["model"] not in NAMES:
            return self.reply(
                404, {"error": {"message": "no such model", "type": "NotFoundError", "code": 404}}
            )
        text = f"{asked['model']}: {asked['messages'][-1]['content']}"
        head = {"id": "x", "created": 1, "model": asked["model"]}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        if not asked.get("stream"):
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
            return self.reply(
                200, head | {"object": "chat.completion", "choices": [choice], "usage": usage}
            )
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in (*text.split(" "), None):
            delta = {} if piece is None else {"content": piece + " "}
            choice = {
                "index": 0,
                "delta": delta,
                "finish_reason": "stop" if piece is None else None,
            }
            event = head | {"object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        end = head | {"object": "chat.completion.chunk", "choices": [], "usage": usage}
        self.wfile.write(f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode())
        self.close_connection = True


def main():
    if GIVEN.fake_log:
        with open(GIVEN.fake_log, "a") as file:
            file.write(json.dumps({"argv": sys.argv[1:], "pid": os.getpid()}) + "\n")
    if GIVEN.fake_die:
        sys.exit(GIVEN.fake_die)
    ThreadingHTTPServer((GIVEN.host, GIVEN.port), Handler).serve_forever()


main()
