"""Each defence of the platform's door is the one that refuses: switched off, its case gets through."""

import pytest
from tests.fakes.platform_server import browser, platform_server

from stead.serving import guard as gateway_guard
from stead.store.users import User
from stead.web import guard


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with platform_server(tmp_path_factory.mktemp("switches")) as found:
        found[1].users.ensure(User("u-v", "v", "viewer", 0.0))
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
