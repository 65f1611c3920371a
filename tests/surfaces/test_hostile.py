"""Hostile requests to every route, made from our own OpenAPI document: none may be a fault of ours or tell of us.

`make campaign PART=hostile` sends many more.
"""

import json
import os
import random
from pathlib import Path

import pytest
from tests.fakes import hostile
from tests.fakes.platform_server import Client, browser, platform_server

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "ui" / "openapi.json").read_text())
N = 800


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    root = tmp_path_factory.mktemp("hostile")
    with platform_server(root, models={"tiny": str(tiny_model)}) as found:
        yield found


@pytest.fixture(scope="module")
def client(server):
    return browser(*server)


@pytest.fixture
def line(client):
    found = hostile.Line(
        client.url, {"Cookie": f"stead_session={client.cookie}", "X-Stead-CSRF": client.csrf}
    )
    yield found
    found.close()


@pytest.mark.spec("001-053", "002-058", "000-093")
def test_no_hostile_request_is_a_fault_of_ours_or_tells_of_us(server, client, line, tiny_model):
    secrets = (str(server[1].home.root).encode(), client.cookie.encode())

    faults, statuses = hostile.storm(
        line, client, DOCUMENT, str(tiny_model), random.Random(11), N, secrets
    )

    assert faults == []
    assert sum(statuses.values()) == N
    assert {200, 400, 404, 415, 422} <= set(statuses)  # the storm reaches what it is meant for


def test_the_judge_sees_faults_leaks_and_untold_errors():
    asked, told = hostile.Attack("GET", "/api/runs"), "application/problem+json"
    problem = dict.fromkeys(("type", "title", "status", "detail", "code", "hint", "error_id"), 1)
    right = json.dumps(problem).encode()

    judged = [
        hostile.fault(asked, answer, (b"/srv/home",))
        for answer in (
            (404, told, right, 0.1), (500, told, right, 0.1), (400, told, b'{"detail": "x"}', 0.1),
            (400, "text/html", b"<h1>Bad</h1>", 0.1), (400, told, right[:-1] + b', "at": "/srv/home/x"}', 0.1),
            (400, told, right[:-1] + b', "at": "File \\"/a.py\\""}'.replace(b'\\"', b'"'), 0.1), (200, "", b"", 40.0),
        )
    ]  # fmt: skip

    assert [found is None for found in judged] == [True] + [False] * 6


@pytest.mark.spec("002-029")
@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"config": 1}, 422, "body.config"),
        ({"config": {}, "tags": [""]}, 422, "body.tags.0"),
        ({"config": {}, "nonsense": 1}, 422, "body.nonsense"),
        ({"config": {"trainer": {"epochs": -1}}}, 400, None),
    ],
)
def test_start_training_names_the_field_that_is_wrong(client, body, status, param):
    answer = client.post("/api/start_training", body)

    assert answer.status == status
    assert answer.json.get("param") == param
    assert param is not None or "epochs" in answer.json["detail"]


@pytest.mark.spec("002-060")
@pytest.mark.parametrize(
    "name",
    ["../../stead.db", "..%2f..%2fstead.db", "%2fetc%2fpasswd", "final/link", "final/pipe", "%00", "final/..%00", "CON", "/dev/zero"],
)  # fmt: skip
def test_no_file_outside_a_run_is_sent(server, client, tiny_model, name):
    run = client.get("/api/runs?limit=1").json["items"]
    run_id = run[0]["id"] if run else hostile.furnish(client, str(tiny_model))["run_id"][0]
    final = server[1].home.runs / run_id / "final"
    final.mkdir(parents=True, exist_ok=True)
    for path, make in (
        (final / "link", lambda p: p.symlink_to("/etc/passwd")),
        (final / "pipe", os.mkfifo),
    ):
        if not path.is_symlink() and not path.exists():
            make(path)

    answer = client.get(f"/api/runs/{run_id}/artifacts/{name}")

    assert answer.status in (400, 404)
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/runs/x/events?after=--3", 400),
        ("/api/runs/x/events?after=%C2%B2", 400),
        (f"/api/audit?after={10**40}", 422),
        ("/api/models/", 404),
    ],
)
def test_what_a_storm_found_once_stays_mended(client, path, status):
    assert client.get(path).status == status


@pytest.mark.spec("002-059")
def test_words_of_sql_are_only_words(client):
    for words in (
        "' OR 1=1--",
        '";DROP TABLE runs;--',
        "%",
        "_",
        "\\",
        "x' UNION SELECT hash FROM keys--",
    ):
        for path in ("/api/runs", "/api/jobs"):
            answer = client.ask("GET", f"{path}?{hostile.urlencode({'q': f'zz{words}'})}")
            assert (answer.status, answer.json["items"]) == (200, [])
    assert Client(client.url, token="sk-stead-' OR 1=1--").get("/api/runs").status == 401


def test_names_with_a_slash_are_one_name_in_routes(server, client):
    made = client.post("/api/keys", {"name": "slash"})

    for path in ("org%2Fname", "org%2Fname/card", "org%2Fname/lineage"):
        answer = client.get(f"/api/models/{path}")
        assert (answer.status, answer.code) == (404, "unknown-model")
        assert "'org/name'" in answer.json["detail"]
    token = Client(client.url, token=made.json["key"])
    assert "'org/name'" in token.get("/v1/models/org/name").json["error"]["message"]
    assert "'org/name'" in token.get("/v1/models/org%2Fname").json["error"]["message"]
