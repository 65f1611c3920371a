"""JB2 in small: PostgreSQL killed with everything it has open; jobs lose nothing, the API says when to come back."""

import signal
import time
from contextlib import contextmanager

import pytest
from tests.fakes.databases import postgres_cluster
from tests.fakes.job_place import Place
from tests.fakes.platform_server import browser, platform_server

from stead.core.errors import ResourceError
from stead.store.db import Database
from stead.store.migrate import migrate
from stead.store.stores import Stores

BACK_S = 5.0


@pytest.fixture
def cluster():
    with postgres_cluster() as made:
        yield made


@contextmanager
def opened(cluster, folder):
    database = Database(cluster.url)
    migrate(database)
    stores = Stores.of(database)
    place = Place(stores, folder)
    try:
        yield stores, place
    finally:
        place.clean()
        stores.close()


def unfinished(stores):
    """Return how many jobs are left; None while the database is away."""
    try:
        return stores.jobs.unfinished()
    except ResourceError as error:
        if error.code != "database-unavailable":
            raise
        return None


def test_killing_the_database_loses_and_doubles_no_job(cluster, tmp_path):
    with opened(cluster, tmp_path / "jobs") as (stores, place):
        jobs = [place.submit(steps=12, pause_s=0.02) for _ in range(16)]
        for _ in range(2):
            place.supervise(lease_s=1.0, jobs=3)
        place.until(lambda: place.step(jobs[0]) >= 2)
        for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL):
            if number == signal.SIGKILL:
                cluster.kill()
                assert unfinished(stores) is None
                cluster.start()
            else:
                cluster.signal(number)
                time.sleep(0.8)
                cluster.signal(signal.SIGCONT)
            time.sleep(0.6)
        place.until(lambda: unfinished(stores) == 0, timeout_s=60)

        for job in jobs:
            assert stores.jobs.get(job.id).state == "succeeded"
            assert stores.runs.metrics(job.run, ["loss"], points=10**4).steps == [*range(1, 13)]
        assert stores.artefacts.list(limit=100).total == len(jobs)
        events = [e.number for e in stores.runs.events_after(jobs[0].run, limit=10**4)]
        assert events == [*range(len(events))]


def test_the_api_says_503_and_when_to_ask_again(cluster, home, monkeypatch):
    monkeypatch.setenv("STEAD_DATABASE_URL", cluster.url)
    with platform_server(home) as (url, platform):
        owner = browser(url, platform)
        assert owner.get("/api/jobs").status == 200
        time.sleep(1.1)  # who asks is believed for a second; then the database is asked

        cluster.kill()
        answers = [
            owner.get("/api/jobs"), owner.get("/api/runs"), owner.get("/api/me"),
            owner.post("/api/runs", {"config": {}}), owner.ask("DELETE", "/api/runs/none"),
        ]  # fmt: skip
        cluster.start()
        back = time.monotonic()
        while (status := owner.get("/api/jobs").status) != 200:
            assert status == 503
            assert time.monotonic() - back < BACK_S
            time.sleep(0.05)

    for answer in answers:
        assert (answer.status, answer.code) == (503, "database-unavailable")
        assert answer.headers["retry-after"] == "1"
        assert str(cluster.port) not in answer.body.decode()
        assert "the store cannot be reached" in answer.body.decode()
