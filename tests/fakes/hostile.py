"""Hostile requests made from our own OpenAPI document, and what every answer to one must be.

`attacks(document, random, known)` goes on for ever: each is a route of the document with a fitting request that was
then spoilt in one to three places. `known` gives parameters' real values, so that what lies behind a name is reached
too. `fault(attack, answer, secrets)` says what is wrong with an answer, or None.
"""

import http.client
import json
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import quote, urlencode, urlsplit

from tests.fakes.hostile_wire import LEAKS, probe

NAMES = (
    "x", "..", "%2e%2e%2f", "%2e%2e%2fetc%2fpasswd", "..%5c..%5cx", "a%2Fb", "org%2Fname", "%00", "a%00b", "%ff%fe", "%0d%0aX:y",
    "CON", "x" * 3000, "%E2%80%AE", "%F0%9F%92%A9", "-1", "9" * 40, "'%20OR%201=1--", "%25s%25n", "{{7*7}}", "~", "a.", "%20",
    "null", "NaN", "true", "%ED%A0%80", "<script>", "sha256-..%2f..%2fx", "a/b", "a//b", "./x", "%252e%252e%252f",
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "a\0b", "\ud800", "\u202e", "💩" * 50, "x" * 5000, "../../etc/passwd", "/dev/zero", "/proc/self/environ",
    "file:///etc/passwd", "http://169.254.169.254/", "hf:../x", "hf:a/b@../c", "url:http://127.0.0.1:1/x", "' OR 1=1--", '";DROP TABLE runs;--',
    "%s%n", "{{7*7}}", "${HOME}", "=cmd|' /C calc'!A0", "\r\nX: y", "\x1b[2J", "-rf", "--config=x", "a: [1, 2", "!!python/object:os.system x",
    "&a [*a]", "NaN", "null", "1e999", "CON", "\u2028", "ﬀ", "true", "0", "-1", "2024-13-45",
)  # fmt: skip
NUMBERS = (
    0,
    -1,
    1,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**40,
    0.5,
    -0.0,
    1e308,
    -1e-308,
)
RAW = (b"", b"{", b"[" * 50_000, b"\xff\xfe{}", b'{"a":1,"a":2}', b"nul", b'"x"', b"1", b"null", b"[]", b'{"a":' * 300,
       b'{"limit":' + b"9" * 6000 + b"}", b'{"name":"\xed\xa0\x80"}', '{"name":"a"}'.encode("utf-16"), b'{"a":' * 20_000, b"[1," * 60_000,
       b"\x00", b"{}{}", b'{"\\ud800":1}', b'{"a":1e999}', b'{"a":NaN}', b'\xef\xbb\xbf{}')  # fmt: skip
ODD = (
    ("Range", "bytes=0-1,5-2,-9"), ("Range", "bytes=" + ",".join(f"{i}-{i}" for i in range(1000))), ("Accept", "x/\u00ff"), ("Accept-Language", "x" * 3000),
    ("Content-Encoding", "gzip, gzip"), ("Content-Encoding", "br"), ("X-HTTP-Method-Override", "DELETE"), ("If-None-Match", '"x", *'), ("X-Forwarded-For", "' OR 1=1--"),
    ("Authorization", "Bearer \u00ff"), ("Authorization", "Bearer " + "x" * 5000), ("Authorization", "Digest x"), ("Cookie", "stead_session=x"), ("Cookie", "a" * 9000),
    ("X-Stead-CSRF", "\u00ff"), ("Origin", "null"), ("Origin", "http://localhost.evil"), ("Sec-Fetch-Site", "cross-site"), ("Host", "evil.example"),
    ("Host", "127.0.0.1.evil.tld"), ("Host", "localhost:80@evil"), ("X-Stead-Tags", "[" * 900), ("X-Stead-Strict", "\u00b2"), ("traceparent", "00-0-0-zz"),
    ("Last-Event-ID", "\u00b2"), ("Idempotency-Key", "../../x"), ("Expect", "100-continue"), ("anthropic-version", "x"), ("OpenAI-Beta", "\u00ff"),
)  # fmt: skip
"""Headers that no honest client sends, one to a request."""
KINDS = ("application/json; charset=\u00ff", "application/jsonp", "multipart/mixed; boundary=x", "application/json;" * 300, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data",
         "application/json; charset=utf-16", "application/xml", "", "application/json")  # fmt: skip
SKIPPED = ("POST /api/logout", "POST /api/login")  # they would end the session, and are limited
SLOW_S = 10.0
_OF_BYTES, _OF_ODD = 0.05, 0.1  # parts of a storm: bare bytes, and one odd header


@dataclass(frozen=True)
class Attack:
    method: str
    path: str
    body: bytes | None = None
    headers: dict = field(default_factory=dict)
    route: str = ""

    def __str__(self):
        body = "" if self.body is None else repr(self.body[:300])
        return f"{self.method} {self.path[:300]} {self.headers} {body}"


def operations(document, skip=()):
    """Return (method, path, operation) of every route, but those of `skip`."""
    found = []
    for path, methods in sorted(document["paths"].items()):
        found += [
            (m.upper(), path, o) for m, o in methods.items() if f"{m.upper()} {path}" not in skip
        ]
    return found


def attacks(document, random, known, skip=()):
    """Yield attacks without end, on every route in turn."""
    routes = operations(document, skip)
    while True:
        for method, path, operation in routes:
            yield _attack(document, random, known, method, path, operation)


def _attack(document, random, known, method, path, operation):
    spoilt = random.choice(("path", "query", "body", "body", "body"))
    query, where = [], path
    for parameter in operation.get("parameters", ()):
        name, schema = parameter["name"], parameter["schema"]
        if parameter["in"] == "path":
            value = (
                random.choice(NAMES)
                if spoilt == "path" and random.random() < 0.8
                else _real(known, name, random)
            )
            where = re.sub("{" + name + "(:path)?}", lambda _, v=value: v, where)
        elif parameter["in"] == "query" and (parameter.get("required") or random.random() < 0.5):
            real = name in known and random.random() < 0.6
            value = random.choice(known[name]) if real else sample(document, schema, random)
            if spoilt == "query" and random.random() < 0.7:
                value = random.choice((random.choice(TEXTS), random.choice(NUMBERS)))
            query += [(name, value)] * random.choice((1, 1, 1, 3))
    if spoilt == "query" and random.random() < 0.2:
        query.append((random.choice(TEXTS), "x"))
    text = urlencode([(_plain(k), _plain(v)) for k, v in query]) if query else ""
    if spoilt == "query" and random.random() < 0.1:
        text += "&%ff=%zz&&=;[]"
    body, kind = _body(document, operation, random, known, spoil=spoilt == "body")
    headers = {} if kind is None else {"Content-Type": kind}
    if random.random() < 0.05:
        headers["Idempotency-Key"] = quote(random.choice(TEXTS).encode("utf-8", "replace"))[:300]
    if random.random() < 0.05:
        headers["Last-Event-ID"] = str(random.choice(NUMBERS))
    return Attack(method, where + ("?" + text if text else ""), body, headers, f"{method} {path}")


def _real(known, name, random):
    return quote(str(random.choice(known[name])), safe="") if name in known else "x"


def _plain(value):
    return str(value).encode("utf-8", "replace")


def _body(document, operation, random, known, *, spoil):
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return (
            (random.choice(RAW), "application/json")
            if spoil and random.random() < 0.2
            else (None, None)
        )
    kind, media = next(iter(content.items()))
    if kind.startswith("multipart"):
        return spoilt_form(random), f"{kind}; boundary=x"
    value = sample(document, media["schema"], random, known)
    if not spoil:
        return dump(value), kind
    if random.random() < 0.12:
        return random.choice(RAW), kind
    if random.random() < 0.1:
        return dump(value), random.choice(KINDS)
    for _ in range(random.randint(1, 3)):
        value = spoil_value(value, random)
    return dump(value), kind


def dump(value):
    return json.dumps(value).encode()


def spoil_value(value, random):
    """Return a value with one place replaced, dropped, added or nested."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        change = random.random()
        if change < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if change < 0.2:
            return value | {random.choice(TEXTS): hostile_value(random)}
        return value | {key: spoil_value(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        at = random.randrange(len(value))
        return [*value[:at], spoil_value(value[at], random), *value[at + 1 :]]
    return hostile_value(random)


def hostile_value(random):
    kind = random.random()
    if kind < 0.4:
        return random.choice(TEXTS)
    if kind < 0.65:
        return random.choice(NUMBERS)
    if kind < 0.8:
        return random.choice((None, True, False, [], {}, [[]], {"": None}))
    if kind < 0.9:
        nested = 1
        for _ in range(random.choice((5, 63, 65, 200))):
            nested = [nested] if random.random() < 0.5 else {"a": nested}
        return nested
    return random.choice(([random.choice(TEXTS)] * 300, {str(i): i for i in range(500)}))


def sample(document, schema, random, known=None, name="", depth=0):
    """Return a value that a schema allows, roughly; `known` values where a key has some."""
    if known and name in known and random.random() < 0.8:
        return random.choice(known[name])
    if "$ref" in schema:
        return sample(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], random, known, name, depth + 1)  # fmt: skip
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return sample(document, random.choice(schema[word]), random, known, name, depth + 1)
    if "enum" in schema or "const" in schema:
        return random.choice(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "object":
        if "properties" not in schema:
            return (
                {} if depth > 6 or random.random() < 0.3 else {"a": random.choice(("b", 1, None))}
            )
        must = schema.get("required", ())
        return {
            key: sample(document, inner, random, known, key, depth + 1)
            for key, inner in schema["properties"].items()
            if key in must or random.random() < 0.6
        }
    if kind == "array":
        count = (
            0
            if depth > 6
            else random.randint(schema.get("minItems", 0), 2 + schema.get("minItems", 0))
        )
        return [
            sample(document, schema.get("items", {}), random, known, name, depth + 1)
            for _ in range(count)
        ]
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 0), random.choice((0, 1, 2, 10)))
    if kind == "boolean":
        return random.random() < 0.5
    if kind == "null":
        return None
    return "a" * max(1, schema.get("minLength", 1)) if kind == "string" else random.choice(TEXTS)


def spoilt_form(random):
    """Return a form that is wrong in some way, or right."""
    part = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    name = random.choice(
        (b"../../x.jsonl", b"a\\b.jsonl", b"x" * 250, b"\xff.csv", b"a.parquet", b"a.json", b"")
    )
    rows = random.choice(
        (
            b'{"prompt":"a","completion":"b"}\n',
            b"PAR1",
            b"\x00" * 100,
            b"a,b\n1,2\n",
            b"",
            b"[" * 9000,
        )
    )
    parts = [part % (b"name", b"", random.choice(TEXTS).encode("utf-8", "replace")),
             part % (b"purpose", b"", random.choice((b"fine-tune", b"x", b""))),
             part % (b"file", b'; filename="%b"' % name, rows)]  # fmt: skip
    random.shuffle(parts)
    whole = b"".join(parts[: random.randint(0, 3)]) + random.choice(
        (b"--x--\r\n", b"--x--\r\n", b"", b"--y--")
    )
    return whole.replace(b'"', b"") if random.random() < 0.1 else whole


def furnish(client, model):
    """Make one of everything, so that routes behind names are reached; return values by parameter."""
    rows = b"".join(
        dump({"prompt": f"{i} + 1 =", "completion": str(i + 1)}) + b"\n" for i in range(12)
    )
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n%b\r\n--x--\r\n'
    dataset = client.ask(
        "POST", "/api/datasets", raw=form % rows, kind="multipart/form-data; boundary=x"
    ).json["id"]
    chat = client.post("/api/chats", {"title": "x"}).json["id"]
    recipe = {"model": {"path": model}, "data": {"path": dataset}, "trainer": {"max_steps": 1}}
    started = client.post("/api/runs", {"config": recipe}).json
    evaluation = client.post(
        "/api/evaluations", {"models": [model], "data": dataset, "metrics": ["perplexity"]}
    ).json["job"]["id"]
    fresh = uuid.uuid4().hex
    user = client.post("/api/users", {"name": fresh, "role": "viewer"}).json["id"]
    key = client.post("/api/keys", {"name": fresh}).json["id"]
    token = client.post("/api/tokens", {"name": f"t{fresh}", "user": user}).json["id"]
    run, job = started["run"]["id"], started["job"]["id"]
    upload = (form % rows).replace(
        b"--x\r\n",
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x\r\n',
        1,
    )
    file = client.ask("POST", "/v1/files", raw=upload, kind="multipart/form-data; boundary=x").json[
        "id"
    ]
    tuned = client.post("/v1/fine_tuning/jobs", {"model": "tiny", "training_file": file}).json["id"]
    return {
        "x": [file, tuned, "echo"], "training_file": [file],
        "dataset_id": [dataset], "chat_id": [chat], "run_id": [run], "job_id": [job], "user_id": [user], "key_id": [key],
        "token_id": [token], "evaluation_id": [evaluation], "model": [model, "x"],
        "models": [[model]], "data": [dataset], "config": [recipe, {}], "key": ["log.level", "engines.idle_s"], "ids": [run],
        "name": ["x", "org/name", "basic"], "metrics": [["perplexity"]], "yaml": ["model: {path: x}", "a: [1"], "run": [run],
    }  # fmt: skip


class Line:
    """One kept connection to a server."""

    def __init__(self, url, headers=None):
        self.url, self.headers, self._open = url, headers or {}, None

    def send(self, attack):
        """Return (status, content type, body, seconds); streams are read until they pause."""
        for _ in range(2):
            if self._open is None:
                self._open = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=SLOW_S)
            begun = time.monotonic()
            try:
                self._open.request(
                    attack.method, attack.path, attack.body, self.headers | attack.headers
                )
                answer = self._open.getresponse()
                kind = answer.headers.get("content-type", "")
                is_stream = kind.startswith("text/event-stream")
                body = b"" if is_stream else answer.read()
                if is_stream or answer.will_close:
                    self.close()
                return answer.status, kind, body, time.monotonic() - begun
            except TimeoutError:
                self.close()
                return 0, "", b"", SLOW_S
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()  # a kept connection that ended meanwhile is opened again, once
        raise AssertionError(f"no answer: {attack}")

    def close(self):
        if self._open is not None:
            self._open.close()
            self._open = None


CHAT = {
    "model": "echo",
    "messages": [{"role": "user", "content": "a"}],
    "max_tokens": 4,
    "stream": False,
    "temperature": 0.5,
}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
PICTURE = [
    {"type": "text", "text": "a"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
]
MODELS = {
    "POST /v1/chat/completions": [CHAT, CHAT | {"tools": TOOLS, "tool_choice": "auto"}, CHAT | {"stream": True, "n": 2},
        CHAT | {"messages": [{"role": "user", "content": PICTURE}], "response_format": {"type": "json_object"}}],
    "POST /v1/completions": [{"model": "echo", "prompt": ["a", "b"], "max_tokens": 3, "logprobs": 2}, {"model": "echo", "prompt": [1, 2]}],
    "POST /v1/embeddings": [{"model": "echo", "input": ["a"], "encoding_format": "base64", "dimensions": 8}],
    "POST /v1/responses": [{"model": "echo", "input": "a", "instructions": "b"}, {"model": "echo", "input": CHAT["messages"]}],
    "POST /v1/messages": [CHAT, CHAT | {"system": "a", "thinking": {"type": "enabled", "budget_tokens": 1024}}],
    "POST /v1/messages/count_tokens": [CHAT],
    "POST /api/chat": [CHAT | {"options": {"seed": 1}, "format": "json", "keep_alive": "5m"}],
    "POST /api/generate": [{"model": "echo", "prompt": "a", "stream": False, "options": {"num_predict": 2}}],
    "POST /api/embed": [{"model": "echo", "input": ["a"], "truncate": True}],
    "POST /api/embeddings": [{"model": "echo", "prompt": "a"}],
    "POST /api/show": [{"model": "echo"}], "GET /api/tags": [], "GET /api/ps": [], "GET /api/version": [],
    "POST /api/pull": [{"model": "x"}], "POST /api/create": [{"model": "x"}], "DELETE /api/delete": [{"model": "x"}],
    "POST /v1/batches": [{"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"}],
    "POST /v1/fine_tuning/jobs": [{"model": "tiny", "training_file": "file-x", "seed": 1, "suffix": "a", "metadata": {"a": "b"},
        "method": {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "beta": 0.1}}}, "stead": {"trainer.lr": 0.1}}],
    "GET /v1/models": [], "GET /v1/models/{x}": [], "GET /v1/files": [], "GET /v1/files/{x}": [], "GET /v1/files/{x}/content": [],
    "DELETE /v1/files/{x}": [], "POST /v1/files": [], "GET /v1/batches": [], "GET /v1/batches/{x}": [], "POST /v1/batches/{x}/cancel": [],
    "GET /v1/fine_tuning/jobs": [], "GET /v1/fine_tuning/jobs/{x}": [], "GET /v1/fine_tuning/jobs/{x}/events": [],
    "GET /v1/fine_tuning/jobs/{x}/checkpoints": [], "POST /v1/fine_tuning/jobs/{x}/cancel": [], "GET /v1/{x}": [], "PUT /v1/models": [],
}  # fmt: skip
"""Routes of the models' side, which no document of ours describes, with requests that are right."""


def model_attacks(random, known):
    """Yield attacks on the routes to models without end. `known["x"]`: real ids."""
    while True:
        for route, rights in MODELS.items():
            method, path = route.split(" ")
            name = (
                random.choice(NAMES)
                if random.random() < 0.7
                else random.choice(known.get("x", ["x"]))
            )
            path = path.replace("{x}", name)
            if method == "GET" and random.random() < 0.5:
                key = random.choice(
                    ("limit", "after", "order", "purpose", "metadata[a]", random.choice(TEXTS))
                )
                path += "?" + urlencode(
                    {
                        _plain(key): _plain(
                            random.choice((random.choice(TEXTS), random.choice(NUMBERS)))
                        )
                    }
                )
            body, headers = None, {"Content-Type": "application/json"}
            if route == "POST /v1/files":
                body, headers = (
                    spoilt_form(random),
                    {"Content-Type": "multipart/form-data; boundary=x"},
                )
            elif rights:
                value = random.choice(rights)
                for _ in range(random.randint(0, 3)):
                    value = spoil_value(value, random)
                body = random.choice(RAW) if random.random() < 0.1 else dump(value)
            if random.random() < 0.06:
                headers = {"Content-Type": random.choice(KINDS)}
            if random.random() < 0.05:
                headers["x-stead-tags"] = quote(random.choice(TEXTS).encode("utf-8", "replace"))[
                    :200
                ]
            yield Attack(method, path, body, headers, route)


def storm(line, client, document, model, random, n, secrets=()):
    """Send `n` attacks; return what was wrong, and how many answers had which status. Things are made anew at times."""
    statuses, faults, known = Counter(), [], {}
    both = chain.from_iterable(
        zip(attacks(document, random, known, SKIPPED), model_attacks(random, known), strict=True)
    )
    for number in range(n):
        if number % 1200 == 0:
            known.clear()
            known.update(furnish(client, model))
        if random.random() < _OF_BYTES:
            sent, status, found = probe(line.url, client.cookie, random)
            statuses[status] += 1
            if found is not None:
                faults.append(f"{found} | {sent[:600]!r}")
            continue
        attack = next(both)
        if random.random() < _OF_ODD:
            attack.headers.update((random.choice(ODD),))
        answer = line.send(attack)
        statuses[answer[0]] += 1
        found = fault(attack, answer, secrets)
        if found is not None:
            faults.append(f"{found} | {attack}")
    return faults, statuses


def fault(attack, answer, secrets=()):
    """Return what is wrong with an answer, None when nothing is."""
    status, kind, body, seconds = answer
    if status >= 500:
        return f"{status}: {body[:300]!r}"
    if seconds > SLOW_S / 2:
        return f"took {seconds:.1f} s"
    if status < 400:
        return None
    leak = LEAKS.search(body)
    if leak is not None or any(secret in body for secret in secrets):
        return f"leaks {leak and leak[0]!r}: {body[:300]!r}"
    return (
        None
        if _is_told(attack, kind, body)
        else f"{status} without a told error: {kind} {body[:200]!r}"
    )


def _is_told(attack, kind, body):
    if attack.method == "HEAD" or not body:
        return attack.method == "HEAD"
    try:
        found = json.loads(body)
    except ValueError:
        return False
    if kind == "application/problem+json":
        return {"type", "title", "status", "detail", "code", "hint", "error_id"} <= set(found)
    return "error" in found or found.get("type") == "error"
