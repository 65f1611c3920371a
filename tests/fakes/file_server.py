"""A real web server on loopback with one file and a script of faults, for downloads."""

import hashlib
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Script:
    """What the server does: `faults` are used up one per request, then it serves well."""

    def __init__(self, data):
        self.data = data
        self.faults = []
        self.requests = []
        self.url = ""

    @property
    def etag(self):
        return '"' + hashlib.sha256(self.data).hexdigest()[:16] + '"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        script = self.server.script
        script.requests.append((self.path, dict(self.headers)))
        fault = script.faults.pop(0) if script.faults else ""
        name, _, value = fault.partition(":")
        getattr(self, f"fault_{name}", self.fault_none)(script, value)
        self.close_connection = True

    def answer(self, status, body, headers, length=None):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def fault_none(self, script, _="", cut=None):
        wanted, tag = self.headers.get("Range"), self.headers.get("If-Range")
        start = (
            int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and tag == script.etag else 0
        )
        body = script.data[start:]
        headers = {"ETag": script.etag}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(script.data) - 1}/{len(script.data)}"
        sent = body if cut is None else body[:cut]
        self.answer(206 if start else 200, sent, headers, len(body))

    def fault_cut(self, script, value):
        self.fault_none(script, cut=int(value))

    def fault_status(self, script, value):
        self.answer(int(value), b"no", {})

    def fault_redirect(self, script, value):
        self.answer(302, b"", {"Location": value})

    def fault_gzip(self, script, _):
        self.answer(200, script.data, {"Content-Encoding": "gzip"})

    def fault_nolength(self, script, _):
        self.answer(200, script.data, {}, -1)

    def fault_wrongrange(self, script, _):
        self.answer(206, script.data, {"Content-Range": "bytes 0-3/4"})

    def fault_hangup(self, script, _):
        self.close_connection = True

    def fault_reset(self, script, value):
        self.fault_cut(script, value)
        self.wfile.flush()
        linger = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def fault_noetag(self, script, value):
        self.answer(200, script.data[: int(value)], {}, len(script.data))


@contextmanager
def serving(data):
    """Serve `data` at script.url until the block ends."""
    script = Script(data)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.script = script
    script.url = f"http://127.0.0.1:{server.server_address[1]}/model.gguf"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
