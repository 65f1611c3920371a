"""A hub on loopback: a real HTTP server that speaks as much of the protocol as the client uses.

Repositories are {name: {revision: {file: bytes}}}; files that end in .safetensors or .gguf are LFS
files. `faults` maps a path's end to a list of faults, used up one per request.
"""

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.fakes.hub_uploads import Uploads


def commit_of(files):
    """Return the commit of a revision: 40 digits that follow from the content."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class Hub:
    """What the server offers, and what it was asked."""

    def __init__(self):
        self.repositories = {}
        self.faults = {}
        self.requests = []
        self.token = None  # when set, only requests with it are answered
        self.lies = {}  # file name -> the SHA-256 the listing claims
        self.url = ""
        self.large = {}  # sha256 -> bytes that came by LFS
        self.private = {}
        self.messages = []  # of commits
        self.pause_s = 0.0  # before each of the 20 pieces that a file is sent in

    def add(self, name, files, revision="main"):
        """Put a repository's revision on the hub and return its commit."""
        self.repositories.setdefault(name, {})[revision] = dict(files)
        return commit_of(files)

    def fault(self, path):
        """Take the next fault for a path."""
        for end, left in self.faults.items():
            if path.endswith(end) and left:
                return left.pop(0)
        return ""

    def files(self, name, revision):
        """Return a revision's files by branch or commit, or None."""
        revisions = self.repositories[name]
        by_commit = {commit_of(f): f for f in revisions.values()}
        return revisions.get(revision, by_commit.get(revision))


class Handler(Uploads, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.route(body=False)

    def do_GET(self):
        self.route(body=True)

    def route(self, *, body):
        hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, dict(self.headers)))
        fault = hub.fault(path) if body else ""
        if fault.isdigit():
            return self.error(int(fault), "Fault")
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.error(401, "RepoNotFound")
        if path == "/api/models":
            return self.json(
                [{"id": n, "downloads": 7, "likes": 2, "tags": []} for n in hub.repositories]
            )
        if path.startswith("/api/models/"):
            return self.api(path.removeprefix("/api/models/").split("/"))
        if path == "/api/whoami-v2":
            return self.json({"type": "user", "name": "org", "auth": {"type": "access_token"}})
        parts = path.strip("/").split("/")
        if len(parts) < 5:  # owner, name, "resolve", revision, file
            return self.error(404, "EntryNotFound")
        return self.resolve(parts, body, fault)

    def api(self, parts):
        hub, name = self.server.hub, "/".join(parts[:2])
        if name not in hub.repositories:
            return self.error(404, "RepoNotFound")
        verb, revision = parts[2], "/".join(parts[3:])
        files = hub.files(name, revision)
        if files is None:
            return self.error(404, "RevisionNotFound")
        if verb == "revision":
            return self.json(
                {
                    "id": name,
                    "sha": commit_of(files),
                    "siblings": [{"rfilename": n} for n in files],
                    "tags": [],
                }
            )
        return self.json([self.entry(n, data) for n, data in files.items()])

    def entry(self, name, data):
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        found = {"type": "file", "path": name, "size": len(data), "oid": oid}
        if name.endswith((".safetensors", ".gguf")):
            sha = self.server.hub.lies.get(name, hashlib.sha256(data).hexdigest())
            found["lfs"] = {"oid": sha, "size": len(data), "pointerSize": 134}
        elif name in self.server.hub.lies:
            found["oid"] = self.server.hub.lies[name]
        return found

    def resolve(self, parts, body, fault):
        hub, name = self.server.hub, "/".join(parts[:2])
        revision, file = parts[3], "/".join(parts[4:])
        if name not in hub.repositories:
            return self.error(404, "RepoNotFound")
        files = hub.files(name, revision)
        if files is None:
            return self.error(404, "RevisionNotFound")
        if file not in files:
            return self.error(404, "EntryNotFound", commit_of(files))
        return self.send(files[file], commit_of(files), body, fault)

    def send(self, data, commit, body, fault):
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        digest = hashlib.sha256(data).hexdigest()
        for key, value in {
            "ETag": f'"{digest}"', "X-Repo-Commit": commit, "X-Linked-ETag": f'"{digest}"', "X-Linked-Size": len(data),
            "Accept-Ranges": "bytes", "Content-Length": len(data) - start,
        }.items():  # fmt: skip
            self.send_header(key, str(value))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if fault.startswith("cut:"):
            self.send_header("Connection", "close")
        self.end_headers()
        if not body:
            return
        if fault == "flip":
            data = data[:-1] + bytes([data[-1] ^ 1])
        end = start + int(fault[4:]) if fault.startswith("cut:") else len(data)
        for piece in self.pieces(data[start:end]):
            self.wfile.write(piece)
        self.close_connection = fault.startswith("cut:")

    def pieces(self, data):
        pause_s = self.server.hub.pause_s
        step = len(data) if pause_s == 0 else len(data) // 20 + 1
        for start in range(0, len(data), max(1, step)):
            time.sleep(pause_s)
            yield data[start : start + step]

    def json(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def error(self, status, code, commit=""):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving():
    """Serve an empty hub at hub.url until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = hub = Hub()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
