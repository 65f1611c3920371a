"""Each defence of the platform's door is the one that refuses: switched off, its case gets through."""

import os
import stat
import time
from dataclasses import replace

import pytest
from tests.fakes.platform_server import Client, browser, platform_server

from stead.app import orders, run_reading, setting_changes
from stead.app.access import Grant, create
from stead.core.errors import ResourceError
from stead.core.paths import Home
from stead.serving import guard as gateway_guard
from stead.serving.access import Caller
from stead.serving.file_store import FileStore
from stead.store.runs import Run
from stead.store.users import User, Users
from stead.web import guard, problems, shapes
from stead.web.routes import chats


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with platform_server(tmp_path_factory.mktemp("switches")) as found:
        found[1].users.ensure(User("u-v", "v", "viewer", 0.0))
        found[1].users.ensure(User("u-m", "m", "member", 0.0))
        yield found


CASES = {
    "check_csrf": (guard, "owner", {"X-Stead-CSRF": "wrong"}),
    "check_role": (guard, "u-v", {}),
    "check_host": (gateway_guard, "owner", {"Host": "evil.example"}),
    "check_origin": (gateway_guard, "owner", {"Origin": "https://evil.example"}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_without_the_defence_its_case_gets_through(server, monkeypatch, name):
    module, user, headers = CASES[name]
    client = browser(*server, user=user)

    guarded = client.post("/api/chats", {}, headers=headers)
    monkeypatch.setattr(module, name, lambda *_: None)
    through = client.post("/api/chats", {}, headers=headers)

    assert guarded.status in (403, 421)
    assert through.status == 201


def test_without_the_head_check_a_large_body_is_stopped_by_counting_only(server, monkeypatch):
    client = browser(*server)
    monkeypatch.setattr(guard, "check_head", lambda *_: None)
    body = {"title": "x", "settings": {"a": "y" * (1 << 20)}}

    counted = client.post("/api/chats", body)
    monkeypatch.setattr(guard, "limited", lambda receive, _: receive)
    through = client.post("/api/chats", body)

    assert (counted.status, through.status) == (413, 201)


def test_without_the_rate_anybody_may_guess_on(server, monkeypatch):
    client = browser(*server)
    monkeypatch.setattr(guard.Rates, "count", lambda *_: None)

    assert {client.post("/api/login", {"token": "wrong"}).status for _ in range(15)} == {401}


def test_without_the_door_nobody_needs_a_session(server, monkeypatch):
    async def owner(self):
        return await self.of_session(session)

    session = browser(*server).cookie
    stranger = Client(server[0])

    guarded = stranger.get("/api/keys")
    monkeypatch.setattr(type(server[1].identities), "nobody", owner)
    through = stranger.get("/api/keys")

    assert (guarded.status, through.status) == (401, 200)


def test_without_the_sockets_guard_a_stranger_listens(server, monkeypatch):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    async def everybody(self, socket, policy):
        return True

    url = server[0].replace("http", "ws") + "/api/live"

    with pytest.raises(InvalidStatus, match="403"):
        connect(url, origin=server[0], proxy=None)
    monkeypatch.setattr(guard.Guard, "lets_in", everybody)
    connect(url, origin=server[0], proxy=None).close()


def test_without_the_path_check_a_file_outside_a_run_is_sent(server, monkeypatch):
    home = server[1].home
    out = home.runs / "r-switch"
    (out / "final").mkdir(parents=True)
    (home.root / "canary.txt").write_text("canary")
    (out / "final" / "link").symlink_to(home.root / "canary.txt")
    server[1].stores.runs.add(Run("r-switch", "x", "succeeded", "sft", "lora", "m", "d", str(out), time.time()))  # fmt: skip
    client, path = browser(*server), "/api/runs/r-switch/artifacts/final/"
    tried = ("..%2f..%2f..%2fcanary.txt", "link")

    guarded = [client.get(path + name) for name in tried]
    monkeypatch.setattr(run_reading.paths, "inside", lambda root, name: root / name)
    through = [client.get(path + name) for name in tried]

    assert [(a.status, a.code) for a in guarded] == [(400, "outside")] * 2
    assert [a.body for a in through] == [b"canary"] * 2


def test_without_the_orders_check_a_member_reads_this_machine(server, monkeypatch):
    member = browser(*server, user="u-m")
    order = {"config": {"model": {"path": "x"}, "data": {"path": "/etc/passwd"}}}

    guarded = member.post("/api/runs", order)
    monkeypatch.setattr(orders.Orders, "_allowed", lambda self, text: text)
    through = member.post("/api/runs", order)

    assert (guarded.status, guarded.code) == (403, "outside")
    assert through.code != "outside"


def test_without_the_owners_check_chats_are_everybodys(server, monkeypatch):
    chat = browser(*server).post("/api/chats", {"title": "mine"}).json["id"]
    other = browser(*server, user="u-m")

    guarded = other.get(f"/api/chats/{chat}")
    monkeypatch.setattr(chats, "_mine", lambda here, who, chat_id: here.stores.chats.get(chat_id))
    through = other.get(f"/api/chats/{chat}")

    assert (guarded.status, guarded.code) == (404, "no-chat")
    assert through.json["title"] == "mine"


def test_without_folders_of_their_own_keys_see_each_others_files(server, monkeypatch):
    keys = server[1].accounts.keys
    tokens = [create(keys, n, Grant(), now=time.time()).token.reveal() for n in ("one", "two")]
    one, two = (Client(server[0], token=token) for token in tokens)
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % part
        for part in ((b"purpose", b"user_data"), (b'file"; filename="a', b"text"))
    )

    def kept():
        return one.ask("POST", "/v1/files", raw=form + b"--x--\r\n", kind="multipart/form-data; boundary=x").json["id"]  # fmt: skip

    guarded = two.get(f"/v1/files/{kept()}/content")
    monkeypatch.setattr(FileStore, "folder", lambda self, owner: self.root / "all")
    through = two.get(f"/v1/files/{kept()}/content")

    assert (guarded.status, through.status) == (404, 200)


def test_without_its_models_a_key_asks_for_any(server, monkeypatch):
    made = create(server[1].accounts.keys, "few", Grant(models=("x",)), now=time.time())
    client = Client(server[0], token=made.token.reveal())
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}

    guarded = client.post("/v1/chat/completions", body)
    free = lambda self, id_, tags=frozenset(): call(replace(self, models=None), id_, tags)  # noqa: E731
    call = Caller.call
    monkeypatch.setattr(Caller, "call", free)
    through = client.post("/v1/chat/completions", body)

    assert guarded.status in (403, 404)
    assert through.status == 200


def test_without_the_file_only_list_a_session_chooses_what_is_started(server, monkeypatch):
    client, change = browser(*server), {"value": "/bin/sh"}

    guarded = client.ask("PUT", "/api/settings/engines.llama_server", change)
    monkeypatch.setattr(setting_changes, "_check_settable", lambda home, key: None)
    through = client.ask("PUT", "/api/settings/engines.llama_server", change)

    assert (guarded.status, guarded.code) == (403, "file-only")
    assert through.status == 200


def test_without_the_masks_a_fault_tells_of_this_machine(server, monkeypatch):
    def broken(self, **_):
        raise ResourceError(
            "database-unavailable", f"no host db.internal below {server[1].home.root}/x"
        )

    client = browser(*server)
    monkeypatch.setattr(type(server[1].stores.runs), "list", broken)

    guarded = client.get("/api/runs").json["detail"]
    monkeypatch.setattr(problems, "_MASKED", {})
    unmasked = client.get("/api/runs").json["detail"]
    monkeypatch.setattr(Home, "hide", lambda self, text: text)
    through = client.get("/api/runs").json["detail"]

    assert "db.internal" not in guarded
    assert "db.internal" in unmasked
    assert str(server[1].home.root) not in unmasked
    assert str(server[1].home.root) in through


def test_without_the_leaf_check_what_no_store_keeps_gets_in(server, monkeypatch):
    client, raw = browser(*server), b'{"settings": {"n": 1e400}}'

    guarded = client.post("/api/chats", raw=raw)
    monkeypatch.setattr(shapes, "_check_leaf", lambda value: None)
    through = client.post("/api/chats", raw=raw)

    assert guarded.status == 422
    assert through.status != 422


def test_without_its_keeper_the_last_admin_goes(tmp_path, monkeypatch):
    with platform_server(tmp_path) as found:
        client = browser(*found)
        guarded = client.ask("DELETE", "/api/users/owner")
        monkeypatch.setattr(Users, "_keep_one_admin", staticmethod(lambda connection: None))
        through = client.ask("DELETE", "/api/users/owner")

    assert (guarded.status, guarded.code) == (409, "last-admin")
    assert through.status == 200


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_what_is_secret_is_its_owners_alone_whatever_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with platform_server(tmp_path / "home") as found:
            browser(*found)
            found[1].identities.sessions.link("owner")
            home = found[1].home
            secret = [home.root, *home.root.glob("stead.db*"), *(home.state / "sessions").iterdir()]
            secret += [
                home.state / "sessions",
                home.state / "logins",
                *(home.state / "logins").iterdir(),
            ]
            open_ = [p.name for p in secret if stat.S_IMODE(p.stat().st_mode) & 0o077]
    finally:
        os.umask(before)

    assert len(secret) >= 6
    assert open_ == []
