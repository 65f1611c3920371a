"""A stand-in for Ollama: `ollama serve` with its own API and its OpenAI-shaped one, a store in memory."""

import hashlib
import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STORE = {"llama3.2:1b": {"size": 1000, "digest": "aa" * 32}}
LOADED = {}
BLOBS = {}
LIBRARY = {"tiny:latest": 3_000_000}
LOG = sys.argv[sys.argv.index("--fake-log") + 1] if "--fake-log" in sys.argv else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, value=None, lines=None):
        parts = [json.dumps(v).encode() + b"\n" for v in lines] if lines is not None else []
        body = (
            b"".join(parts)
            if lines is not None
            else (b"" if value is None else json.dumps(value).encode())
        )
        self.send_response(status)
        self.send_header(
            "Content-Type", "application/x-ndjson" if lines is not None else "application/json"
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            half = len(body) // 2 + 3  # a line is cut in two on its way
            self.wfile.write(body[:half])
            self.wfile.flush()
            self.wfile.write(body[half:])

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_HEAD(self):
        self.reply(200 if self.path.rpartition("/")[2] in BLOBS else 404)

    def do_GET(self):
        if self.path == "/api/version":
            self.reply(200, {"version": "0.20.1"})
        elif self.path == "/api/tags":
            self.reply(200, {"models": [{"name": n} | v for n, v in STORE.items()]})
        elif self.path == "/api/ps":
            self.reply(200, {"models": [{"name": n, "size": s} for n, s in LOADED.items()]})
        else:
            self.reply(404, {"error": "not found"})

    def do_DELETE(self):
        name = json.loads(self.body())["model"]
        known = STORE.pop(name, None) is not None
        self.reply(200 if known else 404, None if known else {"error": f"model '{name}' not found"})

    def do_POST(self):
        data = self.body()
        if self.path.startswith("/api/blobs/"):
            digest = self.path.rpartition("/")[2]
            right = digest == "sha256:" + hashlib.sha256(data).hexdigest()
            BLOBS.update({digest: data} if right else {})
            return self.reply(
                201 if right else 400, None if right else {"error": "digest mismatch"}
            )
        asked = json.loads(data)
        name = asked["model"]
        if LOG:
            with open(LOG, "a") as file:
                file.write(json.dumps({"path": self.path, "asked": asked}) + "\n")
        if self.path == "/api/pull":
            return self.pull(name)
        if self.path == "/api/create":
            return self.create(name, asked)
        if name not in STORE:
            return self.reply(404, {"error": f"model '{name}' not found"})
        if self.path == "/api/show":
            return self.reply(200, {"details": {"family": "llama"}, "capabilities": ["completion"]})
        if self.path == "/api/generate":
            if asked.get("keep_alive") == 0:
                LOADED.pop(name, None)
                return self.reply(200, {"model": name, "done": True, "done_reason": "unload"})
            LOADED[name] = STORE[name]["size"] + 500
            return self.reply(200, {"model": name, "done": True, "done_reason": "load"})
        if self.path == "/v1/chat/completions":
            text = f"{name} says {asked['messages'][-1]['content']}"
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            return self.reply(
                200, {"id": "o", "created": 1, "model": name, "choices": [choice], "usage": usage}
            )
        self.reply(404, {"error": "not found"})

    def pull(self, name):
        if name not in LIBRARY:
            return self.reply(
                200,
                lines=[
                    {"status": "pulling manifest"},
                    {"error": "pull model manifest: file does not exist"},
                ],
            )
        total, digest = LIBRARY[name], "sha256:" + "b1" * 32
        STORE[name] = {"size": total, "digest": "b1" * 32}
        steps = [
            {"status": "pulling", "digest": digest, "total": total, "completed": total * i // 4}
            for i in range(5)
        ]
        self.reply(200, lines=[{"status": "pulling manifest"}, *steps, {"status": "success"}])

    def create(self, name, asked):
        missing = [d for d in asked.get("files", {}).values() if d not in BLOBS]
        if missing or not (asked.get("files") or asked.get("from") in STORE):
            return self.reply(
                400, {"error": f"no blob or model for {missing or asked.get('from')}"}
            )
        STORE[name] = {
            "size": sum(len(BLOBS[d]) for d in asked.get("files", {}).values()),
            "digest": "cc" * 32,
        }
        self.reply(200, lines=[{"status": "reading model metadata"}, {"status": "success"}])


def main():
    if "serve" not in sys.argv:
        sys.exit(f"unknown command {sys.argv[1:]}")
    host, _, port = re.sub(
        "^https?://", "", os.environ.get("OLLAMA_HOST", "127.0.0.1:11434")
    ).partition(":")
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


main()
