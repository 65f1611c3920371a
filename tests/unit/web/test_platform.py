"""The platform's API through a real server: each route, who may ask, and each defence on its own."""

import asyncio
import gzip
import json
import re
import time
from types import SimpleNamespace

import pytest
from fastapi import APIRouter
from tests.fakes.asgi import call
from tests.fakes.platform_server import Client, browser, platform_server

from stead.app.identity import Who
from stead.app.models import Models
from stead.core.errors import ConfigError
from stead.store.events import Stored
from stead.store.rows import Page as Listed
from stead.store.runs import Run
from stead.store.users import User
from stead.web import app as web_app
from stead.web import deps
from stead.web.guard import Guarded
from stead.web.policies import POLICIES

ROWS = b"".join(
    json.dumps(
        {"instruction": f"What is {i} plus 1?", "input": "", "output": f"It is {i + 1}."}
    ).encode()
    + b"\n"
    for i in range(12)
)
SET = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nsums\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="../../a.jsonl"\r\n\r\n%b\r\n--x--\r\n'
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with platform_server(tmp_path_factory.mktemp("platform")) as found:
        yield found


@pytest.fixture
def owner(server):
    server[1].identities.forget()
    return browser(*server)


def someone(server, role):
    platform = server[1]
    user = platform.users.ensure(User(f"u-{role}", role, role, time.time()))
    return browser(*server, user=user.id)


def table():
    found = []
    for router in web_app.routers().values():
        for route in router.routes:
            found += [(m, route.path) for m in (getattr(route, "methods", None) or {"WS"})]
    return sorted(found)


@pytest.mark.spec("002-002")
def test_every_route_declares_a_policy_and_every_policy_has_a_route():
    assert {f"{m} {p}" for m, p in table()} == set(POLICIES)


def test_a_route_without_a_policy_does_not_start():
    router = APIRouter(route_class=Guarded)

    with pytest.raises(ConfigError, match="declares no policy"):
        router.get("/api/secret")(lambda: {})


def test_only_the_named_routes_are_public():
    assert {k for k, v in POLICIES.items() if v.role == "public"} == {
        "GET /api/openapi.json",
        "POST /api/login",
    }


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p in table() if m != "WS"])
def test_nobody_gets_in_without_a_session(server, method, path):
    if POLICIES[f"{method} {path}"].role == "public":
        return

    answer = Client(server[0]).ask(
        method, re.sub(r"{\w+(:path)?}", "x", path), {} if method != "GET" else None
    )

    assert (answer.status, answer.code) == (401, "not-signed-in")


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_no_route_lets_in_a_lower_role(server, role):
    client, ranks = someone(server, role), {"public": 0, "viewer": 1, "member": 2, "admin": 3}
    higher = [(m, p) for m, p in table() if ranks[POLICIES[f"{m} {p}"].role] > ranks[role]]

    answers = [
        client.ask(m, re.sub(r"{\w+(:path)?}", "x", p), {} if m != "GET" else None)
        for m, p in higher
    ]

    assert higher
    assert {(a.status, a.code) for a in answers} == {(403, "role-too-low")}


READS = [
    "/api/me", "/api/home", "/api/hardware", "/api/schema/run", "/api/schema/strategy", "/api/schema/settings",
    "/api/kinds", "/api/models", "/api/catalog?q=llama", "/api/hub/token", "/api/datasets", "/api/runs", "/api/evaluations",
    "/api/exports", "/api/chats", "/api/playground/models", "/api/strategies", "/api/providers", "/api/keys",
    "/api/spend?by=key", "/api/spend", "/api/requests", "/api/settings", "/api/settings/history", "/api/plugins",
    "/api/doctor", "/api/jobs", "/api/users", "/api/tokens", "/api/audit", "/api/openapi.json",
]  # fmt: skip


@pytest.mark.spec("001-051")
@pytest.mark.parametrize("path", READS)
def test_each_list_answers_on_an_empty_home(owner, path):
    answer = owner.get(path)

    assert answer.status == 200, answer.body
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


MISSING = [
    p for m, p in table() if m == "GET" and "{" in p and "compare" not in p and "schema" not in p
]


@pytest.mark.spec("002-045")
@pytest.mark.parametrize("path", MISSING)
def test_what_is_not_there_is_a_problem_with_a_code(owner, path):
    query = "?model=none" if path.endswith(("mask", "statistics")) else ""

    answer = owner.get(re.sub(r"{\w+(:path)?}", "nothing", path) + query)

    assert answer.status == 404, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "hint", "error_id"} <= set(answer.json)


def test_a_link_works_once_and_its_session_outlives_the_server(tmp_path):
    with platform_server(tmp_path) as (url, platform):
        code = platform.identities.sessions.link("owner")
        first = Client(url).post("/api/login", {"token": code})
        second = Client(url).post("/api/login", {"token": code})
        cookie = first.headers["set-cookie"]
    with platform_server(tmp_path) as (url, _):
        later = Client(url, cookie.split("stead_session=")[1].split(";")[0]).get("/api/me")

    assert (first.status, second.status, second.code) == (200, 401, "bad-login")
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    assert later.json["user"] == "owner"


def test_a_session_ends_with_logout_and_with_its_user(server):
    mine, theirs = browser(*server), someone(server, "member")

    assert mine.post("/api/logout").status == 200
    assert mine.get("/api/me").status == 401
    assert browser(*server).ask("PATCH", "/api/users/u-member", {"disabled": True}).status == 200
    assert theirs.get("/api/me").status == 401
    server[1].users.change("u-member", "test", disabled_at=None)
    server[1].identities.forget()


def test_changes_of_a_session_need_its_csrf_token(owner):
    owner.csrf, right = None, owner.csrf

    missing = owner.post("/api/chats", {})
    wrong = owner.post("/api/chats", {}, headers={"X-Stead-CSRF": "a" * 64})
    given = owner.post("/api/chats", {}, headers={"X-Stead-CSRF": right})

    assert [(a.status, a.json.get("code")) for a in (missing, wrong)] == [(403, "bad-csrf")] * 2
    assert given.status == 201


@pytest.mark.spec("000-094")
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 421, "foreign-host"),
        ({"Host": "localhost/x?"}, 400, "bad-host"),
        ({"Origin": "https://evil.example"}, 403, "foreign-origin"),
        ({"Origin": "null"}, 403, "foreign-origin"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "foreign-origin"),
    ],
)
@pytest.mark.parametrize("path", ["/api/me", "/", "/api/chats/x"])
def test_foreign_hosts_and_origins_are_refused_before_routing(owner, headers, status, code, path):
    answer = owner.ask("DELETE" if path.endswith("x") else "GET", path, headers=headers)

    assert (answer.status, answer.code) == (status, code)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_form_cannot_stand_for_json(owner):
    answer = owner.post("/api/chats", raw=b'{"title": "x"}', kind="text/plain")

    assert (answer.status, answer.code) == (415, "unsupported-media-type")


@pytest.mark.spec("001-053")
def test_a_body_over_the_limit_is_refused_whatever_its_head_says(owner):
    told = owner.post("/api/chats", {"title": "x", "settings": {"a": "y" * (1 << 20)}})
    chunked = owner.post("/api/chats", raw=iter([b"[" * 70_000] * 20))

    assert (told.status, told.code) == (413, "body-too-large")
    assert chunked.status == 413


HOSTILE = [
    b"[" * 100_000, b"{", b'{"title": NaN}', b'{"title": "\\ud800"}', b'{"title": "a\\u0000b"}', b'{"x": 1}',
    b'{"settings": {"n": 1e400}}', b'{"settings": {"n": 18446744073709551616}}', b"\xff\xfe", b"null", b'"x"',
    b'{"settings": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
]  # fmt: skip


@pytest.mark.spec("001-053", "002-058")
@pytest.mark.parametrize("raw", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bodies_are_refused_as_input(owner, raw):
    answer = owner.post("/api/chats", raw=raw)

    assert answer.status in (400, 422), answer.body
    assert answer.code in ("invalid-request", "bad-request")


def test_login_is_limited(tmp_path):
    with platform_server(tmp_path) as (url, _):
        answers = [Client(url).post("/api/login", {"token": "wrong"}) for _ in range(11)]

    assert [a.status for a in answers] == [401] * 10 + [429]
    assert int({k.lower(): v for k, v in answers[-1].headers.items()}["retry-after"]) > 0


def test_an_open_server_asks_nobody(tmp_path):
    with platform_server(tmp_path, is_open=True) as (url, _):
        assert Client(url).get("/api/me").json["auth"] == "none"


@pytest.mark.spec("001-052")
def test_a_token_has_the_role_of_its_user_and_a_gateway_key_none(server, owner):
    someone(server, "viewer")
    made = owner.post("/api/tokens", {"name": f"t{time.time()}", "user": "u-viewer"})
    key = owner.post("/api/keys", {"name": f"k{time.time()}", "rpm": 5, "daily_usd": 1.5})
    viewer, gateway = (
        Client(server[0], token=made.json["token"]),
        Client(server[0], token=key.json["key"]),
    )

    assert viewer.get("/api/runs").status == 200
    assert viewer.post("/api/chats", {}).code == "role-too-low"
    assert gateway.get("/api/runs").code == "no-user-of-key"
    assert gateway.get("/v1/models").status == 200
    assert key.json["daily_usd"] == 1.5
    assert made.json["token"] not in owner.get("/api/tokens").body.decode()
    kept = b"".join(path.read_bytes() for path in server[1].home.root.glob("stead.db*"))
    assert made.json["id"].encode() in kept
    assert made.json["token"].encode() not in kept
    assert owner.ask("DELETE", f"/api/tokens/{made.json['id']}").status == 200


@pytest.mark.spec("002-005")
def test_a_session_asks_models_with_its_csrf_token_only(owner):
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}

    assert owner.post("/v1/chat/completions", body).status == 200
    owner.csrf = None
    assert owner.post("/v1/chat/completions", body).status == 401


@pytest.mark.spec("002-058")
def test_nobody_gives_a_role_by_mass_assignment(server):
    viewer = someone(server, "viewer")

    assert viewer.ask("PATCH", "/api/users/u-viewer", {"role": "admin"}).code == "role-too-low"
    assert browser(*server).ask("PATCH", "/api/users/u-viewer", {"is_admin": True}).status == 422
    assert server[1].users.named("u-viewer").role == "viewer"


def test_one_admin_stays(owner):
    answer = owner.ask("DELETE", "/api/users/owner")

    assert (answer.status, answer.code) == (409, "last-admin")


@pytest.mark.spec("000-095")
def test_changes_are_in_the_audit_log(owner):
    owner.post("/api/chats", {"title": "noted"})

    first = owner.get("/api/audit?limit=1").json["items"][0]

    assert (first["actor"], first["action"]) == ("owner", "POST /api/chats")


def test_a_chat_is_its_owners(server, owner):
    chat = owner.post("/api/chats", {"title": "mine"}).json["id"]
    root = owner.post(f"/api/chats/{chat}/messages", {"role": "user", "content": "a"}).json["id"]
    for text in ("b", "c"):
        owner.post(
            f"/api/chats/{chat}/messages", {"role": "assistant", "content": text, "parent": root}
        )

    assert [m["parent"] for m in owner.get(f"/api/chats/{chat}").json["messages"]] == [
        None,
        root,
        root,
    ]
    other = someone(server, "member")
    assert other.get(f"/api/chats/{chat}").code == other.get("/api/chats/none").code == "no-chat"
    assert other.ask("DELETE", f"/api/chats/{chat}").status == 404


@pytest.mark.spec("002-027")
def test_a_data_set_comes_in_is_read_otherwise_and_split(server, owner):
    made = owner.post("/api/datasets", raw=SET % ROWS, kind=FORM)
    assert made.status == 201, made.body
    found, path = made.json, f"/api/datasets/{made.json['id']}"

    assert (found["name"], found["rows"], found["detected"]["reader"]) == ("sums", 12, "jsonl")
    assert (
        owner.get(f"{path}/rows?offset=10&limit=5").json["items"][0]["fields"]["output"]
        == "It is 11."
    )
    assert owner.get(f"{path}/duplicates").json["duplicates"] == 0
    parts = owner.post(f"{path}/split", {"shares": {"train": 0.75, "eval": 0.25}}).json["items"]
    assert sum(p["rows"] for p in parts) == 12
    assert owner.ask("PATCH", path, {"reader": "nonsense"}).status == 400
    assert owner.ask("DELETE", path).status == 200
    assert owner.get(path).status == 404


def test_a_form_that_is_no_data_leaves_nothing(server, owner):
    folder = server[1].home.datasets / "uploads"
    before = sorted(folder.glob("*"))

    answer = owner.post("/api/datasets", raw=SET % b"", kind=FORM)

    assert answer.status == 400
    assert sorted(folder.glob("*")) == before


def test_a_file_of_unknown_columns_waits_to_be_told_what_they_are(server, owner, tiny_model):
    odd = b"".join(
        b'{"frage": "Was ist %d?", "erwidert": "Es ist %d."}\n' % (i, i) for i in range(9)
    )

    made = owner.post("/api/datasets", raw=SET % odd, kind=FORM)
    assert made.status == 201, made.body
    found, path = made.json, f"/api/datasets/{made.json['id']}"
    assert (found["needs_columns"], found["columns"], found["rows"]) == (True, ["frage", "erwidert"], None)  # fmt: skip
    assert "frage" in found["explanation"]
    assert owner.get(f"{path}/rows?limit=1").json["items"][0]["fields"]["frage"] == "Was ist 0?"
    assert owner.ask("PATCH", path, {"name": "later"}).json["needs_columns"]
    assert owner.ask("PATCH", path, {"columns": {"question": "nothing"}}).code == "no-column"
    assert owner.get(f"{path}/mask?model={tiny_model}").code == "unknown-format"

    columns = {"question": "frage", "answer": "erwidert"}
    told = owner.ask("PATCH", path, {"columns": columns}).json
    assert (told["needs_columns"], told["rows"], told["mapping"]) == (False, 9, columns)
    mask = owner.get(f"{path}/mask?model={tiny_model}").json
    assert {t["turn"] for t in mask["tokens"]} == {0, 1}
    order = {"models": [str(tiny_model)], "data": found["id"], "metrics": ["exact_match"]}
    asked = owner.post("/api/evaluations", order)
    assert asked.status == 202, asked.body
    spec = server[1].stores.jobs.get(asked.json["job"]["id"]).spec
    assert (spec["columns"], spec["reader"], spec["format"]) == (columns, "auto", "auto")
    server[1].jobs.cancel(asked.json["job"]["id"])


@pytest.mark.spec("001-059")
def test_a_setting_is_changed_recorded_and_taken_back(owner):
    assert owner.ask("PUT", "/api/settings/log.level", {"value": "debug"}).json["value"] == "debug"
    assert owner.ask("PUT", "/api/settings/log.level", {"value": "loud"}).status == 400
    version = owner.get("/api/settings/history").json["items"][0]["version"]

    back = owner.post(f"/api/settings/history/{version}/restore")

    assert (back.json["value"], back.json["origin"]) == ("info", "default")


def a_run(platform, name, state="running"):
    run = Run(
        name, name, state, "sft", "lora", "m", "d", str(platform.home.runs / name), time.time()
    )
    platform.stores.runs.add(run)
    told = [Stored(i, {"seq": i, "event": "progress", "done": i}) for i in range(5)]
    platform.stores.database.transact(
        lambda c: platform.stores.runs.record(
            c, name, told=told, points={"loss": [(i, 1.0 / (i + 1)) for i in range(5)]}
        )
    )
    return run


def test_events_go_on_after_the_last_one_seen(server, owner):
    a_run(server[1], "r-events")

    lines = owner.stream("/api/runs/r-events/events", 8, {"Last-Event-ID": "2"})
    kept = owner.get("/api/runs/r-events/metrics?from_step=1&to_step=2").json

    assert [line for line in lines if line.startswith("id:")] == ["id: 3", "id: 4"]
    assert (kept["steps"], kept["last_event"]) == ([1, 2], 4)


def test_events_of_a_run_that_is_over_end(server, owner):
    a_run(server[1], "r-over", "succeeded")

    answer = owner.get("/api/runs/r-over/events?after=3")

    assert b"id: 4\n" in answer.body
    assert answer.body.endswith(b"event: end\ndata: {}\n\n")


@pytest.mark.spec("002-027", "002-060")
def test_series_and_files_of_a_run(server, owner):
    run = a_run(server[1], "r-files", "succeeded")
    final = server[1].home.runs / "r-files" / "final"
    final.mkdir(parents=True)
    (final / "model.txt").write_text("<script>alert(1)</script>")
    (final / "link").symlink_to("/etc/passwd")

    assert owner.get("/api/runs/r-files/metrics?keys=loss").json["series"]["loss"][0] == 1.0
    assert [a["name"] for a in owner.get("/api/runs/r-files/artifacts").json["items"]] == [
        "final/model.txt"
    ]
    sent = owner.get("/api/runs/r-files/artifacts/final/model.txt")
    assert "attachment" in sent.headers["content-disposition"]
    assert sent.headers["content-security-policy"].startswith("sandbox")
    for name in (
        "final/link",
        "../../stead.db",
        "..%2f..%2fstead.db",
        "job.json",
        "%2fetc%2fpasswd",
    ):
        assert owner.get(f"/api/runs/{run.id}/artifacts/{name}").status in (400, 404)


def test_a_member_names_no_path_of_this_machine(server):
    member = someone(server, "member")

    for config in (
        {"model": {"path": "/etc"}},
        {"data": {"path": "../x"}},
        {"method": {"rewards": ["./x.py:f"]}},
    ):
        answer = member.post("/api/runs", {"config": config})
        assert (answer.status, answer.code) == (403, "outside")


@pytest.mark.spec("002-045")
def test_a_broken_database_tells_nothing_of_itself(server, owner, monkeypatch):
    def broken(**_):
        raise RuntimeError("password=hunter2 at db.internal")

    monkeypatch.setattr(type(server[1].stores.runs), "list", lambda self, **k: broken(**k))

    answer = owner.get("/api/runs")

    assert (answer.status, answer.code) == (500, "internal")
    assert b"hunter2" not in answer.body
    assert len(answer.json["error_id"]) == 32


@pytest.mark.spec("002-001")
def test_pages_are_sent_whatever_the_client_route(owner):
    for path in ("/", "/runs/abc"):
        answer = owner.get(path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert owner.get("/assets/none.js").status == 404
    assert owner.get("/../../etc/passwd").status in (200, 400, 404)


@pytest.mark.spec("002-003", "002-029", "002-030")
def test_a_run_is_planned_and_queued_once(server, owner, tiny_model):
    data = owner.post("/api/datasets", raw=SET % ROWS, kind=FORM).json["id"]
    recipe = {
        "model": {"path": str(tiny_model)}, "data": {"path": data}, "method": {"type": "sft"},
        "adapter": {"type": "lora"}, "trainer": {"max_steps": 2},
    }  # fmt: skip

    plan = owner.post("/api/plan", {"config": recipe})
    again = owner.post("/api/plan", {"yaml": plan.json["yaml"]})
    assert plan.status == 200, plan.body
    assert plan.json["plan"]["hash"] == again.json["plan"]["hash"]

    first = owner.post("/api/runs", {"config": recipe, "name": "one", "idempotency_key": "k"})
    second = owner.post(
        "/api/start_training", {"config": recipe, "name": "one", "idempotency_key": "k"}
    )
    assert first.status == second.status == 202, first.body
    assert second.json == {
        "job_id": first.json["job"]["id"],
        "run_id": first.json["run"]["id"],
        "status": "queued",
    }
    other = owner.post("/api/runs", {"config": recipe, "name": "two", "idempotency_key": "k"})
    assert (other.status, other.code) == (409, "idempotency-conflict")

    path = f"/api/runs/{first.json['run']['id']}"
    assert "type: lora" in owner.get(f"{path}/config").json["yaml"]
    assert owner.ask("DELETE", path).code == "run-not-over"
    fork = owner.post(f"{path}/fork", {"changes": {"trainer.lr": 1e-5}})
    assert fork.json["run"]["parent"] == first.json["run"]["id"]
    assert owner.post(f"{path}/fork", {"step": 7}).code == "no-checkpoint"
    assert [owner.post(f"{path}/{do}").json["state"] for do in ("pause", "resume", "cancel")] == [
        "paused", "queued", "cancelled",
    ]  # fmt: skip
    both = owner.get(f"/api/runs/compare?ids={first.json['run']['id']},{fork.json['run']['id']}")
    assert len(both.json["runs"]) == 2

    shown = owner.get(f"/api/datasets/{data}/mask?row=0&model={tiny_model}").json
    assert "".join(t["text"] for t in shown["tokens"] if t["trained"]).startswith("It is 1.")
    counted = owner.get(f"/api/datasets/{data}/statistics?model={tiny_model}").json
    assert (counted["rows"], sum(bar["count"] for bar in counted["histogram"])) == (12, 12)


def test_the_socket_tells_what_is_asked_for_and_lets_no_stranger_in(server, owner):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    a_run(server[1], "r-live")
    url = server[0].replace("http", "ws") + "/api/live"
    cookie = {"Cookie": f"stead_session={owner.cookie}"}

    with connect(url, additional_headers=cookie, origin=server[0], proxy=None) as socket:
        socket.send(json.dumps({"subscribe": ["run/r-live"], "after": {"run/r-live": 2}}))
        told = [json.loads(socket.recv(timeout=10)) for _ in range(2)]
    assert [(m["topic"], m["id"]) for m in told] == [("run/r-live", 3), ("run/r-live", 4)]
    for headers, origin in (({}, server[0]), (cookie, "https://evil.example")):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, additional_headers=headers, origin=origin, proxy=None)


@pytest.mark.spec("002-029", "002-058")
def test_a_wrong_recipe_is_refused_with_the_names_of_its_fields(owner):
    typo = owner.post("/api/start_training", {"config": {"trainer": {"epocs": 2}}})
    shape = owner.post("/api/start_training", {"config": 3, "stranger": 1})

    assert typo.status == 400, typo.body
    assert "trainer.epocs" in typo.body.decode()
    assert shape.status == 422
    assert "config" in shape.json["detail"] + str(shape.json.get("param"))


@pytest.mark.spec("002-004", "004-018")
def test_a_model_is_listed_shown_and_deleted(server, owner, tiny_model):
    Models(server[1].home).add(str(tiny_model), name="mine")

    assert [m["name"] for m in owner.get("/api/models").json["items"]] == ["mine"]
    assert owner.get("/api/models?q=nothing-like-it").json["items"] == []
    shown = owner.get("/api/models/mine").json
    assert (shown["kind"], shown["parameters"] > 0, shown["context"] > 0) == ("model", True, True)
    assert owner.ask("DELETE", "/api/models/mine").status == 200
    assert owner.get("/api/models/mine").status == 404


@pytest.mark.spec("002-061")
def test_the_token_of_a_hub_is_told_to_nobody(owner, monkeypatch):
    token = "hf_" + "a1B2" * 8
    monkeypatch.setenv("HF_TOKEN", token)

    told = owner.get("/api/hub/token")

    assert told.json["present"] is True
    assert token not in told.body.decode() + owner.get("/api/settings").body.decode()


@pytest.mark.spec("002-007")
def test_a_route_works_on_the_service_that_it_is_given(server):
    class Service:
        stores = SimpleNamespace(
            runs=SimpleNamespace(list=lambda **_: Listed(items=[], next=None, total=7))
        )

    class Open:
        async def admit(self, *_):
            return Who("u", "u", "viewer", "none")

    app = web_app.api()
    app.state.guard = Open()
    app.dependency_overrides[deps._platform] = Service
    extra = {"query_string": b"", "server": ("127.0.0.1", 80), "scheme": "http", "root_path": ""}

    async def filled(scope, receive, send):
        await app(scope | extra, receive, send)

    assert asyncio.run(call(filled, "/api/runs")).json == {"items": [], "next": None, "total": 7}


def test_the_page_is_small_on_the_wire(owner):
    text = owner.get("/").body.decode()
    names = re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', text)

    sent = [owner.get(name, headers={"Accept-Encoding": "gzip"}) for name in names]

    assert names
    assert {answer.headers["content-encoding"] for answer in sent} == {"gzip"}
    assert sum(len(answer.body) for answer in sent) < 300_000
    assert gzip.decompress(sent[0].body) == owner.get(names[0]).body
