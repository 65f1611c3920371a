"""Further classes of attack on the platform: each case is refused, and gets through when its defence is switched off.

With `test_switches`, `tests/surfaces/test_hostile.py` and `tests/unit/data/test_readers.py`, every class that meets
this part; `CLASSES` says where.
"""

import json
import logging
import re
import time
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from tests.fakes.platform_server import Client, browser, platform_server

from stead.app import fine_tuning, orders
from stead.app.access import Grant, create
from stead.core import log
from stead.core.errors import RateLimited
from stead.serving import access_log
from stead.serving import guard as gateway_guard
from stead.serving.file_store import FileStore
from stead.store.users import User
from stead.web import app as web_app
from stead.web import guard
from stead.web.routes import me

CLASSES = {  # class of the threat model -> the cases that meet it here
    "names and paths": "test_no_file_outside_a_run_is_sent", "artifact paths": "test_without_the_path_check_a_file_outside_a_run_is_sent",
    "bombs": "test_a_small_parquet_that_unfolds_without_end_is_refused_at_once", "commands from config": "test_without_the_file_only_list_a_session_chooses_what_is_started",
    "numbers": "test_without_the_leaf_check_what_no_store_keeps_gets_in", "request forgery to servers": "test_what_no_provider_has_is_refused",
    "urls from members": "test_without_the_ref_check_a_member_sends_the_server_anywhere", "DNS rebinding": "test_without_the_defence_its_case_gets_through",
    "cross-site requests": "test_without_the_csrf_check_every_change_is_open", "CORS": "test_no_other_origin_is_ever_let_read",
    "socket hijack": "test_without_the_sockets_guard_a_stranger_listens", "parser abuse": "test_without_the_head_counts_large_heads_get_in",
    "open control": "test_without_the_door_nobody_needs_a_session", "privilege escalation": "test_nobody_raises_themselves",
    "others' objects": "test_without_the_owners_check_chats_are_everybodys", "SQL": "test_words_of_sql_are_only_words", "stored secrets": "test_no_secret_lies_in_the_data_directory",
    "scripts in pages": "test_without_its_headers_a_page_may_run_anything", "log lines": "test_without_the_escapes_a_client_forges_log_lines",
    "error leaks": "test_without_the_masks_a_fault_tells_of_this_machine", "exhaustion": "test_without_its_limit_one_key_uses_everything_up",
    "file modes": "test_what_is_secret_is_its_owners_alone_whatever_the_umask", "links": "test_without_the_removal_a_link_works_twice",
    "cookies": "test_a_sessions_cookie_is_for_this_server_alone",
}  # fmt: skip


def test_every_class_names_a_case_that_is_there():
    here = Path(__file__).parents[2]
    text = "".join(path.read_text() for path in here.rglob("test_*.py"))

    assert [case for case in CLASSES.values() if f"def {case}(" not in text] == []


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    root = tmp_path_factory.mktemp("security")
    with platform_server(root, models={"tiny": str(tiny_model)}) as found:
        found[1].users.ensure(User("u-m", "m", "member", 0.0))
        yield found


def key_of(server, name, **grant):
    found = create(server[1].accounts.keys, name, Grant(**grant), now=time.time(), user_id="u-m")
    return Client(server[0], token=found.token.reveal())


HOSTILE = 'a\r\nlevel=forged \x1b[2J\u2028{"level": "forged"}\x85\u202e'


@pytest.mark.parametrize(
    "formatter", [log.JsonLines(), log.Text(color=False)], ids=["json", "text"]
)
def test_without_the_escapes_a_client_forges_log_lines(monkeypatch, formatter):
    def written():
        record = logging.LogRecord("stead", 20, "f", 1, "name %s", (HOSTILE,), None)
        record.fields = {"client": HOSTILE}
        return formatter.format(record)

    escaped = written()
    monkeypatch.setattr(log, "one_line", lambda text: text)
    forged = written()

    assert len(escaped.splitlines()) == 1
    assert escaped.isprintable()
    assert len(forged.splitlines()) > 1
    if isinstance(formatter, log.JsonLines):
        assert json.loads(escaped)["client"] == HOSTILE


def test_without_the_cleaning_a_path_forges_access_log_lines(monkeypatch):
    def told():
        return access_log._clean("/v1/" + HOSTILE)

    cleaned = told()
    monkeypatch.setattr(access_log, "_clean", lambda text: text)

    assert cleaned.isprintable()
    assert len(told().splitlines()) > 1


ROWS = b"".join(b'{"prompt": "%d", "completion": "b"}\n' % i for i in range(12))


def upload(client):
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % part
        for part in ((b"purpose", b"fine-tune"), (b'file"; filename="a.jsonl', ROWS))
    )  # fmt: skip
    return client.ask("POST", "/v1/files", raw=form + b"--x--\r\n", kind="multipart/form-data; boundary=x")  # fmt: skip


def tune(client):
    file = upload(client).json["id"]
    return client.post("/v1/fine_tuning/jobs", {"model": "tiny", "training_file": file})


def data_set(client):
    raw = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"prompt": "a", "completion": "b"}\n\r\n--x--\r\n'
    return client.ask("POST", "/api/datasets", raw=raw, kind="multipart/form-data; boundary=x")


def test_without_its_limit_one_key_uses_everything_up(server, monkeypatch):
    greedy, other = key_of(server, "greedy"), key_of(server, "other")
    monkeypatch.setattr(fine_tuning, "_UNFINISHED", 1)

    answers = [tune(greedy), tune(greedy), tune(other)]
    monkeypatch.setattr(fine_tuning.FineTuner, "_check_room", lambda *_: None)
    through = tune(greedy)

    assert [answer.status for answer in answers] == [200, 429, 200]
    assert answers[1].json["error"]["code"] == "too_many_jobs"
    assert through.status == 200


def test_without_its_room_one_key_fills_the_disk(tmp_path, monkeypatch):
    store = FileStore(tmp_path, limit_files=1)

    def kept(owner):
        with store.spool() as file:
            file.write(b"x")
            return store.keep(owner, file, "a", "batch").id

    kept("greedy")
    with pytest.raises(RateLimited, match="delete some"):
        kept("greedy")
    assert kept("other")
    monkeypatch.setattr(FileStore, "_check_room", lambda *_: None)
    assert kept("greedy")


def test_a_huge_number_of_answers_is_refused_before_any_work(server):
    answer = key_of(server, "many").post("/v1/completions", {"model": "echo", "prompt": "a", "n": 10**6})  # fmt: skip

    assert (answer.status, answer.json["error"]["param"]) == (400, "n")


@pytest.mark.spec("001-054")
def test_without_their_rate_uploads_go_on(server, monkeypatch):
    client = browser(*server)
    monkeypatch.setitem(guard.RATES, "upload", (1, 60.0))

    refused = [data_set(client) for _ in range(2)][-1]
    monkeypatch.setattr(guard.Rates, "count", lambda *_: None)

    assert refused.status == 429
    assert 1 <= int(Headers(refused.headers)["retry-after"]) <= 60
    assert data_set(client).status == 201


def test_without_the_ref_check_a_member_sends_the_server_anywhere(server, monkeypatch):
    member = browser(*server, user="u-m")
    order = {"ref": "http://169.254.169.254/x.gguf"}

    guarded = [member.post("/api/models", order), member.post("/api/hub/download", order)]
    monkeypatch.setattr(orders.Orders, "ref", lambda self, text: text)
    through = member.post("/api/models", order)

    assert [(a.status, a.code) for a in guarded] == [(403, "outside")] * 2
    assert through.status == 202  # then the next defence: only public addresses are fetched from


def test_without_the_csrf_check_every_change_is_open(server, monkeypatch):
    """DELETE, PUT, PATCH and POST: the forgotten method is the one that is used."""
    client = browser(*server)
    page = Client(client.url, client.cookie)  # a page of another site has the cookie, not the value

    def all_of(asked):
        return [asked.ask(m, p, b).status for m, p, b in CHANGES]

    guarded = all_of(page)
    monkeypatch.setattr(guard, "check_csrf", lambda *_: None)
    through = all_of(page)

    assert guarded == [403] * len(CHANGES)
    assert 403 not in through


CHANGES = (
    ("DELETE", "/api/runs/none", None), ("DELETE", "/api/chats/none", None), ("DELETE", "/api/keys/none", None), ("PATCH", "/api/runs/none", {}),
    ("PUT", "/api/settings/none", {"value": 1}), ("POST", "/api/jobs/none/cancel", None), ("POST", "/api/chats", {}), ("DELETE", "/api/models/none", None),
)  # fmt: skip


@pytest.mark.spec("000-094")
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil", "http://127.0.0.1:1"]
)
def test_no_other_origin_is_ever_let_read(server, origin):
    """There is no way to switch this on, so there is nothing to switch off."""
    client, head = browser(*server), {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
    answers = [
        client.ask(method, path, headers=head)
        for method in ("GET", "OPTIONS", "DELETE")
        for path in ("/api/runs", "/v1/models", "/", "/api/live", "/health")
    ]

    assert {answer.status for answer in answers} <= {403, 405}
    named = [name.lower() for answer in answers for name in answer.headers]
    assert not any(name.startswith("access-control") for name in named)


def test_without_the_head_counts_large_heads_get_in(server, monkeypatch):
    client = browser(*server)
    many, large = (
        {f"X-{i}": "y" for i in range(95)} | {"X-a": "b", "X-c": "d", "X-e": "f"},
        {"X": "y" * 33_000},
    )

    guarded = [client.get("/api/runs", headers=head).status for head in (many, large)]
    monkeypatch.setattr(gateway_guard, "_HEADER_COUNT", 10_000)
    monkeypatch.setattr(gateway_guard, "_HEADER_BYTES", 1 << 20)
    through = [client.get("/api/runs", headers=head).status for head in (many, large)]

    assert (guarded, through) == ([431, 431], [200, 200])


def test_nobody_raises_themselves(server):
    member, admin = browser(*server, user="u-m"), browser(*server)
    key = admin.post("/api/keys", {"name": "small"}).json["id"]

    answers = [
        member.ask("PATCH", "/api/users/u-m", {"role": "admin"}),
        member.post("/api/keys", {"name": "mine", "daily_budget_usd": 1e6}),
        member.post("/api/tokens", {"name": "t", "user": "owner"}),
        member.ask("PUT", "/api/settings/log.level", {"value": "debug"}),
    ]
    extra = [
        admin.ask("PATCH", f"/api/keys/{key}", {"id": "other", "hash": "x"}),
        admin.post("/api/users", {"name": "x", "role": "viewer", "is_admin": True}),
        member.post("/api/chats", {"title": "x", "owner": "owner"}),
        member.post("/api/runs", {"config": {}, "owner": "owner"}),
    ]

    assert [(a.status, a.code) for a in answers] == [(403, "role-too-low")] * 4
    assert [(a.status, a.code) for a in extra] == [(422, "invalid-request")] * 4
    assert member.get("/api/me").json["role"] == "member"


@pytest.mark.spec("001-052")
def test_no_secret_lies_in_the_data_directory(server):
    """A stolen copy lets nobody in: tokens, sessions and links are kept as digests."""
    client = browser(*server)
    link = client.post("/api/users/u-m/link").json
    secrets = [
        client.post("/api/keys", {"name": "dump"}).json["key"],
        client.post("/api/tokens", {"name": "dump-token", "user": "u-m", "days": 1}).json["token"],
        client.cookie, client.csrf, next(v for v in link.values() if len(str(v)) > 30).rpartition("=")[2],
    ]  # fmt: skip
    kept = b"".join(p.read_bytes() for p in server[1].home.root.rglob("*") if p.is_file())

    assert all(len(secret) > 20 for secret in secrets)
    assert [secret for secret in secrets if secret.encode() in kept] == []


def test_without_its_headers_a_page_may_run_anything(server, monkeypatch):
    client = browser(*server)

    def policies():
        found = [client.get(path).headers for path in ("/", "/api/me", "/api/none", "/runs/x")]
        return [Headers(h).get("content-security-policy", "") for h in found]

    guarded = policies()
    sniffed = [Headers(client.get(p).headers).get("x-content-type-options") for p in ("/", "/api/me")]  # fmt: skip
    monkeypatch.setattr(web_app, "_HEADERS", [])
    through = policies()

    assert all("default-src 'self'" in policy and "unsafe" not in policy for policy in guarded)
    assert sniffed == ["nosniff"] * 2
    assert through[1] == ""


def test_without_the_removal_a_link_works_twice(server, monkeypatch):
    sessions = server[1].identities.sessions
    stranger, once, twice = Client(server[0]), sessions.link("u-m"), sessions.link("u-m")
    monkeypatch.setattr(guard.Rates, "count", lambda *_: None)

    def used(code):
        return [stranger.post("/api/login", {"token": code}).status for _ in range(2)]

    guarded = used(once)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    through = used(twice)

    assert (guarded, through) == ([200, 401], [200, 200])


def test_a_sessions_cookie_is_for_this_server_alone(server, monkeypatch):
    code = server[1].identities.sessions.link("u-m")
    monkeypatch.setattr(guard.Rates, "count", lambda *_: None)

    cookie = Client(server[0]).post("/api/login", {"token": code}).headers["set-cookie"]

    assert re.search(r"HttpOnly", cookie)
    assert re.search(r"SameSite=strict", cookie)
    assert "Domain" not in cookie
    assert me.COOKIE in cookie
