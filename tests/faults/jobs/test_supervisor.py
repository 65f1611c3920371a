"""Supervisors and workers killed, stopped and doubled: no job is lost, done twice or left behind."""

import random
import signal
import time

import pytest
from tests.fakes.counting_jobs import supervisor

from stead.core.errors import UsageError


def steps_of(place, job):
    """Return the steps that the store has for a job's run."""
    return place.stores.runs.metrics(job.run, ["loss"], points=10**6).steps


def numbers(place, job):
    return [e.number for e in place.stores.runs.events_after(job.run, limit=10**6)]


def assert_whole(place, job, steps):
    """The store says exactly what one untouched worker would have said."""
    found = place.stores.jobs.get(job.id)
    assert (found.state, found.progress, found.result["steps"]) == ("succeeded", 1.0, steps)
    assert steps_of(place, job) == list(range(1, steps + 1))
    assert numbers(place, job) == list(range(len(numbers(place, job))))
    run = place.stores.runs.get(job.run)
    assert (run.state, run.step, run.steps, run.seconds_left) == ("succeeded", steps, steps, None)
    assert place.stores.artefacts.get(job.id).bytes == steps


@pytest.mark.spec("002-032")
@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_a_job_is_done_and_everything_it_told_is_stored(place):
    job = place.submit(steps=5)
    place.supervise()
    place.state(job, "succeeded")
    assert_whole(place, job, 5)


def test_runs_outlive_a_killed_supervisor_and_are_adopted(place):
    """TR10: neither dead nor doubled, adopted within two leases."""
    jobs = [place.submit(steps=80, pause_s=0.05) for _ in range(2)]
    first = place.supervise(lease_s=1.0)
    place.until(lambda: all(place.step(j) > 2 for j in jobs))
    pids = {p.pid for p in place.workers()}

    first.kill()
    killed = time.monotonic()
    place.supervise(lease_s=1.0)
    place.until(lambda: all(place.stores.jobs.get(j.id).attempt == 2 for j in jobs))

    assert time.monotonic() - killed < 15.0  # two leases, and a busy machine's time to start Python
    assert {place.stores.jobs.get(j.id).pid for j in jobs} == pids
    for job in jobs:
        place.state(job, "succeeded")
        assert place.stores.jobs.get(job.id).starts == 1
        assert_whole(place, job, 80)


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_a_worker_that_is_killed_goes_on_from_what_it_kept(place):
    job = place.submit(steps=40, pause_s=0.03)
    place.supervise()
    for at in (3, 15):
        place.until(lambda at=at: place.step(job) >= at)
        place.until(place.workers)[0].kill()
    place.state(job, "succeeded")

    found = place.stores.jobs.get(job.id)
    assert (found.starts, found.failures) == (3, 0)
    assert_whole(place, job, 40)


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_a_job_that_kills_every_worker_is_given_up(place, monkeypatch):
    """JB7: a poison job becomes a dead letter, and others go on."""
    monkeypatch.setattr("stead.app.job_endings._LONGEST_DELAY_S", 0.05)
    poison, well = place.submit(steps=5, die_at=2), place.submit(steps=2)
    mine = supervisor(place.stores, 5.0)
    place.until(lambda: mine.tick() or place.stores.jobs.unfinished() == 0)

    found = place.stores.jobs.list(dead=True).items
    assert [j.id for j in found] == [poison.id]
    assert (found[0].state, found[0].error["code"], found[0].starts) == ("failed", "worker-died", 6)
    assert_whole(place, well, 2)


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_a_worker_that_says_why_it_fails_is_not_tried_again(place):
    job = place.submit(steps=5, fail_at=3)
    place.supervise()
    found = place.state(job, "failed")

    assert (found.error["code"], found.starts, found.dead) == ("planted", 1, False)
    assert place.stores.runs.get(job.run).error["code"] == "planted"


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_pause_saves_and_resume_goes_on(place):
    job = place.submit(steps=40, pause_s=0.05)
    place.supervise()
    place.until(lambda: place.step(job) >= 3)
    assert place.stores.jobs.ask(job.id, "pause").state == "pausing"
    paused = place.state(job, "paused")
    at = place.step(job)

    assert place.workers() == []
    assert 3 <= at < 40
    assert paused.error is None
    place.stores.jobs.ask(job.id, "resume")
    place.state(job, "succeeded")
    assert_whole(place, job, 40)


@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
def test_cancel_ends_a_queued_job_at_once_and_a_running_one_after_its_step(place):
    """JB7: at most a second when queued, the worker's grace when running."""
    queued = place.submit(steps=2)
    assert place.stores.jobs.ask(queued.id, "cancel").state == "cancelled"
    running = place.submit(steps=1000, pause_s=0.05)
    place.supervise()
    place.until(lambda: place.step(running) >= 2)
    asked = time.monotonic()
    place.stores.jobs.ask(running.id, "cancel")
    place.state(running, "cancelled")

    assert time.monotonic() - asked < 2.0
    place.until(lambda: not place.workers())
    assert place.stores.artefacts.find(running.id) is None
    with pytest.raises(UsageError) as caught:
        place.stores.jobs.ask(running.id, "resume")
    assert caught.value.details["status"] == 409


def test_a_supervisor_that_slept_through_its_lease_writes_nothing_more(place):
    """JB5: SIGSTOP for longer than the lease, then SIGCONT."""
    job = place.submit(steps=120, pause_s=0.04)
    zombie = place.supervise(lease_s=0.6)
    place.until(lambda: place.step(job) >= 3)
    place.supervise(lease_s=0.6)
    place.put_to_sleep(zombie, job)
    holder = place.stores.jobs.get(job.id).holder
    zombie.send_signal(signal.SIGCONT)
    place.state(job, "succeeded")

    found = place.stores.jobs.get(job.id)
    assert found.attempt >= 2
    assert found.starts == 1
    assert holder is not None
    assert_whole(place, job, 120)


@pytest.mark.spec("002-032")
def test_killing_supervisors_and_workers_at_random_loses_and_doubles_nothing(place):
    """JB1 in small: 24 jobs, three supervisors, 12 kills of either."""
    rng = random.Random(5)
    jobs = [place.submit(steps=6, pause_s=0.02) for _ in range(24)]
    crew = [place.supervise(lease_s=0.8, jobs=3) for _ in range(3)]
    kills = 0
    while place.stores.jobs.unfinished():
        time.sleep(0.25)
        if kills < 12:
            kills += 1
            workers = place.workers()
            if workers and rng.random() < 0.5:
                rng.choice(workers).kill()
            else:
                at = rng.randrange(len(crew))
                crew[at].kill()
                crew[at] = place.supervise(lease_s=0.8, jobs=3)

    for job in jobs:
        assert_whole(place, job, 6)
    assert place.stores.artefacts.list(limit=100).total == 24
