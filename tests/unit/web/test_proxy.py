"""What a proxy says of the client: believed behind one, ignored anywhere else."""

import subprocess
import sys

import pytest
from tests.fakes.platform_server import Client, browser, platform_server

from stead.web.proxy import BehindProxy, told

PUBLIC = "models.example.org"


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    home = tmp_path_factory.mktemp("behind")
    with platform_server(home, around=BehindProxy, hosts=(PUBLIC,)) as found:
        yield found


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    with platform_server(tmp_path_factory.mktemp("direct")) as found:
        yield found


def logins(url, addresses):
    client = Client(url)
    return [
        client.post("/api/login", {"token": "x"}, headers={"X-Forwarded-For": one}).status
        for one in addresses
    ]


def test_logins_are_counted_for_the_client_that_the_proxy_names(behind, direct):
    several = [f"203.0.113.{i}" for i in range(12)]

    assert set(logins(behind[0], several)) == {401}
    assert logins(behind[0], ["spoofed, 198.51.100.1", "9.9.9.9, 198.51.100.1"] * 6)[-1] == 429
    assert logins(direct[0], several)[-1] == 429


@pytest.mark.parametrize(("around", "is_secure"), [(BehindProxy, True), (None, False)])
def test_the_cookie_is_secure_when_the_client_speaks_https(tmp_path, around, is_secure):
    with platform_server(tmp_path, around=around) as (url, platform):
        code = platform.identities.sessions.link("owner")
        said = {"X-Forwarded-Proto": "https"}
        answer = Client(url).post("/api/login", {"token": code}, headers=said)

    assert answer.status == 200
    assert ("Secure" in answer.headers["set-cookie"]) is is_secure


def test_the_public_name_is_judged_as_a_host_and_as_an_origin(behind, direct):
    def ask(server, host, origin=f"https://{PUBLIC}"):
        said = {"X-Forwarded-Host": host, "Origin": origin}
        answer = browser(*server).post("/api/chats", {}, headers=said)
        return answer.status, answer.json.get("code")

    assert ask(behind, PUBLIC)[0] == 201
    assert ask(behind, PUBLIC, "https://evil.example") == (403, "foreign-origin")
    assert ask(behind, "evil.example") == (421, "foreign-host")
    assert ask(behind, f"{PUBLIC}/x?") == (400, "bad-host")
    assert ask(direct, PUBLIC) == (403, "foreign-origin")


def test_nonsense_changes_nothing_and_sockets_keep_their_scheme():
    headers = [(b"x-forwarded-for", b"<script>"), (b"x-forwarded-proto", b"gopher")]

    assert told({"type": "http", "headers": headers}) == {}
    assert told({"type": "websocket", "headers": [(b"x-forwarded-proto", b"https")]}) == {"scheme": "wss"}  # fmt: skip


@pytest.mark.parametrize(("option", "words"), [("--no-token", "--no-token"), ("--quiet", "API key")])  # fmt: skip
def test_a_proxy_never_opens_what_loopback_leaves_open(option, words):
    found = subprocess.run(
        [sys.executable, "-m", "stead", "serve", "--behind-proxy", "--port", "0", option],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert found.returncode == 2
    assert words in found.stderr
