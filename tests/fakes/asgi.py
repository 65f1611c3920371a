"""Call an ASGI app directly: one request in, status, headers and body out; the client may leave."""

import asyncio
import json


class Answer:
    def __init__(self):
        self.status = None
        self.headers = {}
        self.parts = []
        self.done = False

    @property
    def body(self):
        return b"".join(self.parts)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def events(self):
        return [p[6:] for p in self.body.decode().split("\n\n") if p.startswith("data: ")]


async def call(
    app, path, body=None, *, method=None, headers=(), host=b"localhost:80", leave=None, parts=None
):
    """`leave` is an event: when set, the client goes; `parts` sends the body in pieces."""
    answer = Answer()
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    found = [(b"host", host)] if host is not None else []
    given = {k.lower() for k, _ in headers}
    if (body is not None or parts) and b"content-type" not in given:
        found.append((b"content-type", b"application/json"))
    scope = {
        "type": "http",
        "path": path,
        "method": method or ("GET" if body is None and not parts else "POST"),
        "headers": [*found, *headers],
    }
    queue = list(parts) if parts else [data]
    gone = leave if leave is not None else asyncio.Event()

    async def receive():
        if queue:
            part = queue.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(queue)}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            assert answer.status is None, "a second start"
            answer.status = message["status"]
            answer.headers = dict(message["headers"])
        else:
            assert not answer.done, "a part after the end"
            answer.parts.append(message.get("body", b""))
            answer.done = not message.get("more_body", False)

    await app(scope, receive, send)
    return answer
