"""The queue: one job per key, one holder per job, late writes refused, only legal changes of state."""

import random
import threading
import uuid
from dataclasses import replace
from typing import get_args

import pytest
import sqlalchemy as sa

from stead.core.errors import ProcessError, SteadError, UsageError
from stead.store.job_states import HELD, TERMINAL, TRANSITIONS, Capacity, End, Ending, Job
from stead.store.runs import Run
from stead.store.tables import ARTEFACTS, ATTEMPTS, JOBS


def job(name="", **values):
    made = Job(
        id=name if name else uuid.uuid4().hex, kind="run", state="queued", title="t", spec={"a": 1},
        fingerprint="f", created_at=values.pop("created_at", 1.0), folder="/f",
    )  # fmt: skip
    return replace(made, **values)


def test_a_job_is_claimed_by_priority_then_by_age(stores):
    queue = stores.jobs
    for name, priority, at in (("old", 0, 1.0), ("new", 0, 2.0), ("urgent", 5, 3.0)):
        queue.submit(job(name, priority=priority, created_at=at))

    taken = [queue.claim("s", 10) for _ in range(4)]

    assert [t and t.id for t in taken] == ["urgent", "old", "new", None]
    assert (taken[0].state, taken[0].attempt, taken[0].holder) == ("running", 1, "s")


def test_a_key_gives_one_job_to_all_who_race_for_it(stores):
    found, refused = [], []

    def submit(number):
        other = number % 8 == 7
        try:
            wanted = job(idempotency_key="k", fingerprint="other" if other else "f")
            found.append((wanted.fingerprint, stores.jobs.submit(wanted).id))
        except UsageError as error:
            refused.append((error.code, error.details["status"]))

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({name for _, name in found}) == 1
    assert set(refused) == {("idempotency-conflict", 409)}
    assert stores.jobs.list().total == 1


def test_many_claimers_never_share_a_job(stores):
    for _ in range(40):
        stores.jobs.submit(job())
    taken = []

    def work(name):
        while (found := stores.jobs.claim(name, 10)) is not None:
            taken.append(found.id)

    threads = [threading.Thread(target=work, args=(f"s{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == len(set(taken)) == 40


def test_the_former_holder_cannot_write_once_its_job_was_taken_over(stores):
    queue = stores.jobs
    queue.submit(job("a"))
    mine = queue.claim("first", -1)  # a lease that has run out already
    (theirs,) = queue.take_over("second", 10)

    def effect(connection):
        row = {
            "id": "e",
            "name": "",
            "format": "",
            "path": "",
            "bytes": 0,
            "sha256": "",
            "created_at": 0.0,
        }
        connection.execute(sa.insert(ARTEFACTS), [row])

    for write in (
        lambda: queue.write(mine, progress=0.5),
        lambda: queue.end(mine, Ending("succeeded"), effect),
    ):
        with pytest.raises(ProcessError, match="is over") as caught:
            write()
        assert caught.value.code == "lease-lost"
    assert queue.beat([("a", mine.attempt)], 10) == {}
    assert stores.artefacts.find("e") is None
    assert queue.end(theirs, Ending("succeeded"), effect).state == "succeeded"
    assert stores.artefacts.find("e") is not None
    assert queue.take_over("third", 10) == []


def test_a_heartbeat_keeps_a_lease_and_tells_what_is_asked(stores):
    queue = stores.jobs
    queue.submit(job("a"))
    held = queue.claim("s", 0.0)
    queue.ask("a", "cancel")

    assert queue.beat([("a", held.attempt)], 10) == {"a": "cancel"}
    assert queue.take_over("other", 10) == []
    queue.release([("a", held.attempt)])
    assert [j.id for j in queue.take_over("other", 10)] == ["a"]


def test_leases_of_another_start_of_the_machine_have_run_out(stores):
    queue = stores.jobs
    queue.submit(job("a"))
    queue.claim("s", 1e9)
    assert queue.take_over("other", 10) == []
    with stores.database.write() as connection:
        connection.execute(sa.update(JOBS).values(realm="before"))

    assert [j.id for j in queue.take_over("other", 10)] == ["a"]


def test_a_tail_moves_once(stores):
    queue = stores.jobs
    queue.submit(job("a"))
    held = queue.claim("s", 10)
    queue.write(held, tail=10)
    with pytest.raises(ProcessError):
        queue.write(held, tail=10)


@pytest.mark.spec("001-068")
def test_memory_and_gpus_limit_what_is_held_together(stores):
    queue, limits = stores.jobs, Capacity(memory_bytes=100, gpus=1, jobs=3)
    for name, memory, gpus in (("a", 60, 0), ("b", 60, 0), ("c", 10, 1), ("d", 0, 1), ("e", 0, 0)):
        queue.submit(job(name, memory_bytes=memory, gpus=gpus, created_at=float(ord(name))))

    taken = [queue.claim("s", 10, capacity=limits) for _ in range(4)]

    assert [t and t.id for t in taken] == ["a", "c", "e", None]


def test_one_that_needs_more_than_there_is_runs_alone(stores):
    queue, limits = stores.jobs, Capacity(memory_bytes=100, gpus=0)
    queue.submit(job("large", memory_bytes=1000, gpus=2))
    queue.submit(job("small", memory_bytes=1, created_at=2.0))

    assert queue.claim("s", 10, capacity=limits).id == "large"
    assert queue.claim("s", 10, capacity=limits) is None


def test_a_run_has_its_jobs_state(stores):
    run = Run("r", "n", "queued", "sft", "lora", "m", "d", "/o", 1.0, job="a")
    stores.jobs.submit(job("a", run="r"), lambda c: stores.runs.add(run, c))
    held = stores.jobs.claim("s", 10)
    assert stores.runs.get("r").state == "running"
    stores.jobs.ask("a", "pause")
    assert stores.runs.get("r").state == "pausing"
    stores.jobs.end(held, Ending("paused"))
    assert stores.runs.get("r").state == "paused"
    assert stores.jobs.ask("a", "resume").state == "queued"
    again = stores.jobs.claim("s", 10)
    assert again.attempt == 2
    stores.jobs.end(again, Ending("failed", error={"code": "x"}))
    found = stores.runs.get("r")
    assert (found.state, found.error) == ("failed", {"code": "x"})
    assert found.finished_at is not None


def test_a_job_waits_before_it_is_tried_again(stores):
    queue = stores.jobs
    queue.submit(job("a"))
    queue.end(queue.claim("s", 10), Ending("queued", delay_s=100, failures=1))
    assert queue.claim("s", 10) is None
    queue.ask("a", "pause")
    queue.ask("a", "resume")  # a person need not wait
    assert queue.claim("s", 10).failures == 0


def test_one_that_runs_again_shows_no_error_of_before(stores):
    queue = stores.jobs
    queue.submit(job("a"))
    queue.end(queue.claim("s", 10), Ending("queued", error={"code": "worker-died"}, failures=1))
    assert queue.get("a").error == {"code": "worker-died"}

    again = queue.claim("s", 10)

    assert (again.error, again.failures) == (None, 1)
    with stores.database.read() as connection:
        kept = connection.execute(
            sa.select(ATTEMPTS.c.error).order_by(ATTEMPTS.c.attempt)
        ).scalars()
        assert kept.all() == [{"code": "worker-died"}, None]


@pytest.mark.parametrize("seed", range(3))
def test_no_sequence_of_requests_makes_an_illegal_change(stores, seed):
    """JB7: random actions of people and two holders, one of whom has lost its lease."""
    rng, queue = random.Random(seed), stores.jobs
    names = [f"j{i}" for i in range(3)]
    for name in names:
        queue.submit(job(name))
    seen = {name: queue.get(name).state for name in names}
    held: list[Job] = []
    codes: set[str | None] = set()

    def claim():
        found = queue.claim("s", rng.choice((-1, 10)))
        held.extend([found] if found else [])

    actions = [
        claim,
        lambda: held.extend(queue.take_over("t", rng.choice((-1, 10)))),
        lambda: queue.ask(rng.choice(names), rng.choice(("cancel", "pause", "resume"))),
        lambda: held and queue.write(rng.choice(held), progress=0.1),
        lambda: held and queue.end(rng.choice(held), Ending(rng.choice(get_args(End)))),
        lambda: queue.set_priority(rng.choice(names), 3),
    ]
    for _ in range(80):
        codes.add(_code(rng.choice(actions)))
        for name in names:
            now = queue.get(name)
            was, seen[name] = seen[name], now.state
            assert now.state == was or _reachable(was, now.state), (was, now.state)
            assert (now.holder is not None) == (now.state in HELD)
            if was in TERMINAL:
                assert now.state == was
    assert codes <= {None, "lease-lost", "job-state"}
    with stores.database.read() as connection:
        open_ = connection.execute(sa.select(ATTEMPTS.c.job).where(ATTEMPTS.c.ended_at.is_(None)))
        assert {row.job for row in open_} == {n for n in names if seen[n] in HELD}


def _code(act):
    try:
        act()
    except SteadError as error:
        return error.code


def _reachable(was, now):
    return now in TRANSITIONS[was]


def test_pages_go_through_every_job_once(stores):
    for i in range(7):
        stores.jobs.submit(job(f"j{i}", created_at=float(i // 2)))
    found, after = [], None
    while True:
        page = stores.jobs.list(limit=3, after=after)
        found += [j.id for j in page.items]
        after = page.next
        if after is None:
            break

    assert (sorted(found), len(found), page.total) == ([f"j{i}" for i in range(7)], 7, 7)
    assert found[0] == "j6"


def test_a_claim_reads_the_queued_jobs_in_their_order_from_an_index(stores):
    """Else a queue of a million jobs is sorted at each claim. PostgreSQL: as its plan for any parameters."""
    queue, seen = stores.jobs, []
    queue.submit(job("a"))
    sa.event.listen(
        stores.database.engine, "before_cursor_execute", lambda *a: seen.append((a[2], a[3]))
    )
    limits = Capacity(memory_bytes=10, gpus=1, jobs=2)
    assert queue.claim("s", 10, kinds=["run"], capacity=limits).id == "a"
    claim, given = next(one for one in seen if one[0].startswith("UPDATE"))

    with stores.database.write() as connection:
        if stores.database.is_sqlite:
            plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + claim, given).all()
        else:
            for setting in ("enable_seqscan = off", "enable_bitmapscan = off", "plan_cache_mode = force_generic_plan"):  # fmt: skip
                connection.exec_driver_sql(f"SET LOCAL {setting}")
            plan = connection.exec_driver_sql("EXPLAIN " + claim, given).all()
    told = "\n".join(str(row) for row in plan)

    assert "ix_jobs_queued" in told, told
    assert "ix_jobs_held" in told, told
    assert "Sort" not in told, told
    assert "B-TREE FOR ORDER" not in told, told


def test_taking_a_job_and_ending_it_are_two_statements_each(stores):
    """What the queue's throughput rests on: each is a trip to the server."""
    queue, seen = stores.jobs, []
    queue.submit(job("a"))
    listen = stores.database.engine, "before_cursor_execute", lambda *a: seen.append(a[2][:12])
    sa.event.listen(*listen)

    held = queue.claim("s", 10)
    queue.end(held, Ending("succeeded"))

    told = [one for one in seen if not one.startswith("BEGIN")]
    assert told == ["UPDATE jobs ", "INSERT INTO ", "UPDATE jobs ", "UPDATE attem"]
