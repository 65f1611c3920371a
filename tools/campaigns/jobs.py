"""Jobs under faults (RELIABILITY 2.3, TR10): real supervisors, workers that count, both databases.

JB1: random kills of supervisors and workers. JB2: PostgreSQL killed and stopped. JB3: SQLite's writers killed, calls
that fail, eight writers at once. JB4 and TR10: adoption. A long one can be done in parts: `--n` and another `--seed`. JB5: supervisors that slept. JB6: keys raced.
JB7: random requests. JB9: throughput. JB10: backups under load. Knows nothing about how the queue works.
"""

import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from campaign import ROOT, Order, Result


def run(order: Order) -> list[Result]:
    """Try every promise of this part on SQLite and, where it is installed, on PostgreSQL."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT / "src"), str(ROOT), path)))
    found = []
    with ExitStack() as stack:
        postgres = _postgres(stack, order.work)
        for name, check in PROMISES.items():
            if not order.wants(name):
                continue
            begun = time.monotonic()
            result = Result(name, 0, 0)
            for url in (f"sqlite:///{order.work / (name + '.db')}", postgres):
                if url is None:
                    result.not_run.append("PostgreSQL is not installed")
                    continue
                with _stores(url) as stores:
                    check(order, stores, result)
            result.seconds = time.monotonic() - begun
            found.append(result)
    for name, own in OWN.items():
        if order.wants(name):
            begun = time.monotonic()
            result = Result(name, 0, 0)
            own(order, result)
            result.seconds = time.monotonic() - begun
            found.append(result)
    return found


def _postgres(stack: ExitStack, work: Path) -> str | None:
    import pytest
    from tests.fakes.databases import postgres_url

    try:
        return str(stack.enter_context(postgres_url(work)))
    except pytest.skip.Exception:
        return None


@contextmanager
def _stores(url: str) -> Iterator[Any]:
    from stead.store.db import Database
    from stead.store.migrate import migrate
    from stead.store.stores import Stores

    database = Database(url)
    if not database.is_sqlite:
        with database.write() as connection:
            connection.exec_driver_sql("DROP SCHEMA IF EXISTS public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    migrate(database)
    try:
        yield Stores.of(database)
    finally:
        database.close()


@contextmanager
def _place(order: Order, stores: Any) -> Iterator[Any]:
    from tests.fakes.job_place import Place

    place = Place(stores, order.work / uuid.uuid4().hex[:8])
    try:
        yield place
    finally:
        place.clean()


def _name(stores: Any) -> str:
    return "sqlite" if stores.database.is_sqlite else "postgres"


def _is_whole(stores: Any, job: Any, steps: int) -> bool:
    """Say whether the store has what one untouched worker would have said, once."""
    found, run = stores.jobs.get(job.id), stores.runs.get(job.run)
    numbers = [e.number for e in stores.runs.events_after(job.run, limit=10**6)]
    seen = stores.runs.metrics(job.run, ["loss"], points=10**6).steps
    return bool(
        found.state == run.state == "succeeded"
        and seen == list(range(1, steps + 1))
        and numbers == list(range(len(numbers)))
        and stores.artefacts.find(job.id) is not None
    )


def kills(order: Order, stores: Any, result: Result) -> None:
    """JB1: 0 lost, each effect once, 0 left running."""
    n = order.count(500, 10_000, 50_000)
    most = n // 20
    rng = random.Random(order.seed)
    with _place(order, stores) as place:
        jobs = [place.submit(steps=2) for _ in range(n)]
        crew = [place.supervise(lease_s=2.0, jobs=2) for _ in range(4)]
        killed = 0
        while stores.jobs.unfinished():
            time.sleep(0.2)
            if killed >= most:
                continue
            killed += 1
            workers = place.workers() if rng.random() < 0.5 else []
            if workers:
                rng.choice(workers).kill()
            else:
                at = rng.randrange(len(crew))
                crew[at].kill()
                crew[at].wait()
                crew[at] = place.supervise(lease_s=2.0, jobs=2)
        result.failures += sum(not _is_whole(stores, job, 2) for job in jobs)
    result.n += n
    result.facts[f"kills_{_name(stores)}"] = killed


def outages(order: Order, result: Result) -> None:
    """JB2: as JB1, while the database itself is killed, stopped and started."""
    import pytest
    from tests.fakes.databases import postgres_cluster

    from stead.core.errors import ResourceError

    n, rng, back_s = order.count(5, 100, 500), random.Random(order.seed), []
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(postgres_cluster())
        except pytest.skip.Exception:
            result.not_run.append("PostgreSQL is not installed")
            return
        stores = stack.enter_context(_stores(cluster.url))
        place = stack.enter_context(_place(order, stores))
        jobs = [place.submit(steps=40, pause_s=0.02) for _ in range(4 * n)]
        for _ in range(3):
            place.supervise(lease_s=2.0, jobs=2)
        for _ in range(n):
            time.sleep(rng.uniform(1.0, 3.0))
            if rng.random() < 0.5:
                cluster.kill()
            else:
                cluster.stop()
            time.sleep(rng.uniform(0.0, 1.0))
            cluster.start()
            begun = time.monotonic()
            while time.monotonic() - begun < 60:
                try:
                    left = stores.jobs.unfinished()
                    break
                except ResourceError as error:
                    result.failures += error.code != "database-unavailable"
            back_s.append(time.monotonic() - begun)
            if not left:
                jobs += [place.submit(steps=40, pause_s=0.02) for _ in range(8)]
        place.until(lambda: not stores.jobs.unfinished(), timeout_s=900)
        result.failures += sum(not _is_whole(stores, job, 40) for job in jobs)
        result.failures += sum(one > 5 for one in back_s)
        result.facts |= {"jobs": len(jobs), "back_s_most": round(max(back_s), 3)}
    result.n += n


def disk_faults(order: Order, result: Result) -> None:
    """JB3: nothing acknowledged is lost, the file is whole, and nobody is told that it is locked."""
    import shutil

    from tests.fakes import store_faults

    n, rng, acknowledged = order.count(50, 500, 5_000), random.Random(order.seed), 0
    url, ids = store_faults.made(order.work / "killed"), []
    for _ in range(n):
        writer = store_faults.start(url, 10_000)
        writer.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.05))
        writer.kill()
        ids += store_faults.told(writer)[0]
    result.failures += len(store_faults.broken(url, ids))
    result.n += n
    result.facts["acknowledged_before_kills"] = len(ids)

    points = 0
    for call in store_faults.CALLS if shutil.which("strace") else ():
        for error in store_faults.ERRORS:
            for ordinal in range(1, order.count(5, 60, 500)):
                folder = order.work / f"{call}-{error}-{ordinal}"
                url, trace = store_faults.made(folder), folder / "trace"
                fault = (call, error, ordinal)
                found = store_faults.told(store_faults.start(url, 3, inject=fault, trace=trace))
                result.failures += len(store_faults.broken(url, found[0])) + (found[2] != 0)
                result.failures += bool(set(found[1]) - {"database-unavailable"})
                is_over = not store_faults.was_injected(trace)
                shutil.rmtree(folder)
                if is_over:
                    break
                points += 1
    if not points:
        result.not_run.append("strace is not installed")
    result.n += points

    url, many = (
        store_faults.made(order.work / "crowd"),
        {"smoke": 200, "full": 12_500}.get(order.size, 125_000),
    )
    crowd = [store_faults.start(url, many) for _ in range(8)]
    for one in crowd:
        found = store_faults.told(one, timeout_s=7200)
        acknowledged += len(found[0])
        result.failures += len(found[1]) + (found[2] != 0)
    result.failures += acknowledged != 8 * many
    result.n += 8 * many
    result.facts |= {"fault_points": points, "writes_of_8_writers": acknowledged}


_ADOPTIONS = {"TR10": (5, 50, 200), "JB4": (5, 500, 500)}


def adoption(order: Order, stores: Any, result: Result) -> None:
    """TR10 and JB4: runs go on, none doubled, adopted within two leases."""
    n, lease_s, waits = order.count(*_ADOPTIONS[result.id]), 2.0, []
    with _place(order, stores) as place:
        crew = [place.ready(place.supervise(lease_s=lease_s)) for _ in range(2)]
        for _ in range(n):
            job = place.submit(steps=10_000, pause_s=0.02)  # outlives any wait
            place.until(lambda job=job: place.step(job) >= 2)
            holder = stores.jobs.get(job.id)
            pid = holder.pid
            victim = _holder_of(crew, holder.holder)
            victim.kill()
            killed = time.monotonic()
            place.until(lambda job=job: stores.jobs.get(job.id).attempt == 2)
            waits.append(time.monotonic() - killed)
            same = stores.jobs.get(job.id).pid == pid
            stores.jobs.ask(job.id, "cancel")
            ended = place.state(job, "cancelled")
            result.failures += not (same and ended.starts == 1 and waits[-1] <= 2 * lease_s)
            crew[crew.index(victim)] = place.ready(place.supervise(lease_s=lease_s))
    result.n += n
    result.facts[f"p99_s_{_name(stores)}"] = round(sorted(waits)[int(len(waits) * 0.99) - 1], 2)


def _holder_of(crew: list[Any], name: str) -> Any:
    """Return the process of a supervisor by its name, which is its process id."""
    return next(one for one in crew if str(one.pid) == name)


def zombies(order: Order, stores: Any, result: Result) -> None:
    """JB5: what a supervisor writes after it slept through its lease is refused."""
    n, lease_s = order.count(20, 200, 2_000), 0.5
    with _place(order, stores) as place:
        for _ in range(n):
            job = place.submit(steps=150, pause_s=0.04)
            zombie = place.supervise(lease_s=lease_s)
            place.until(lambda job=job: place.step(job) >= 2)
            other = place.supervise(lease_s=lease_s)
            place.put_to_sleep(zombie, job, timeout_s=60.0)
            zombie.send_signal(signal.SIGCONT)
            place.state(job, "succeeded", "failed", timeout_s=60.0)
            found = stores.jobs.get(job.id)
            result.failures += not (_is_whole(stores, job, 150) and found.starts == 1)
            for one in (zombie, other):
                one.kill()
                one.wait()
    result.n += n


def keys(order: Order, stores: Any, result: Result) -> None:
    """JB6: 32 clients race for each key, from four pools of connections; one job, and 409 for another content."""
    from dataclasses import replace

    from stead.core.errors import UsageError
    from stead.store.db import Database
    from stead.store.queue import Queue

    n, pools = order.count(1_000, 100_000, 1_000_000) // 32, 4
    with ExitStack() as stack:
        databases = [
            stack.enter_context(closing(Database(stores.database.url))) for _ in range(pools)
        ]
        queues = [Queue(one) for one in databases]
        clients = stack.enter_context(ThreadPoolExecutor(32))
        for number in range(n):
            found: list[str] = []
            refused: list[int] = []

            def submit(at: int, number: int = number, found: list[str] = found, refused: list[int] = refused) -> None:  # fmt: skip
                content = "x" if at % 8 else "y"
                job = replace(_job(), idempotency_key=f"k{number}", fingerprint=content)
                try:
                    found.append(queues[at % pools].submit(job).id)
                except UsageError as error:
                    refused.append(int(error.details["status"]))

            list(clients.map(submit, range(32)))
            result.failures += len(set(found)) != 1 or set(refused) != {409}
    result.n += n * 32
    result.failures += stores.jobs.list(limit=1).total != n


def _job() -> Any:
    from tests.fakes import queue_crew

    return queue_crew.job()


def states(order: Order, stores: Any, result: Result) -> None:
    """JB7: random requests and holders; no illegal change of state."""
    from stead.core.errors import SteadError
    from stead.store.job_states import TRANSITIONS, End, Ending

    n, rng, queue = order.count(2_000, 500_000, 5_000_000), random.Random(order.seed), stores.jobs
    ends = list(End.__args__)
    jobs = [queue.submit(_job()) for _ in range(5)]
    seen = {job.id: job.state for job in jobs}
    held: list[Any] = []
    actions: list[Callable[[], Any]] = [
        lambda: held.append(queue.claim("s", rng.choice((-1, 10)))),
        lambda: held.extend(queue.take_over("t", rng.choice((-1, 10)))),
        lambda: queue.ask(rng.choice(jobs).id, rng.choice(("cancel", "pause", "resume"))),
        lambda: queue.write(rng.choice(held), progress=0.5),
        lambda: queue.end(rng.choice(held), Ending(rng.choice(ends))),
    ]
    for _ in range(n):
        held[:] = [one for one in held if one is not None][-10:]
        act = rng.choice(actions if held else actions[:3])
        try:
            act()
        except SteadError as error:
            result.failures += error.code not in ("lease-lost", "job-state")
        now = _states(stores, seen)
        result.failures += sum(
            now[i] != s and now[i] not in TRANSITIONS[s] for i, s in seen.items()
        )
        for at, job in enumerate(jobs):
            if not TRANSITIONS[now[job.id]]:
                jobs[at] = queue.submit(_job())
        seen = {job.id: now.get(job.id, "queued") for job in jobs}
    result.n += n


def _states(stores: Any, ids: Iterable[str]) -> dict[str, Any]:
    import sqlalchemy as sa

    from stead.store.tables import JOBS

    with stores.database.read() as connection:
        query = sa.select(JOBS.c.id, JOBS.c.state).where(JOBS.c.id.in_(list(ids)))
        return {row.id: row.state for row in connection.execute(query)}


def throughput(order: Order, stores: Any, result: Result) -> None:
    """JB9: two processes queue jobs, then claim and end them; the best of three rounds, for others use the machine.

    Then one process claims from a queue of 1,000 jobs and from one of a million.
    """
    from tests.fakes import queue_crew

    n = order.count(1_000, 10_000, 100_000)
    enqueued = queue_crew.crew(stores, "enqueue", n, rounds=3)
    worked = queue_crew.crew(stores, "work", n, rounds=3)
    p99_ms = sorted(worked["claims_s"])[int(len(worked["claims_s"]) * 0.99)] * 1000
    rate, done = n / enqueued["seconds"], n / worked["seconds"]
    queue_crew.fill(stores, 1_000)
    few_ms = queue_crew.claim_ms(stores)
    queue_crew.fill(stores, 10_000 if order.size == "smoke" else 1_000_000)
    slower = queue_crew.claim_ms(stores) / few_ms
    wanted = (500, 250) if stores.database.is_sqlite else (1_000, 500)
    result.n += 4
    result.failures += (rate < wanted[0]) + (done < wanted[1]) + (p99_ms > 20) + (slower > 2)
    result.facts |= {
        f"{what}_{_name(stores)}": round(value, 2)
        for what, value in (
            ("enqueue_per_s", rate), ("claim_and_end_per_s", done), ("claim_p99_ms", p99_ms),
            ("cpu_ms_per_enqueue", 1000 * enqueued["cpu_s"] / n), ("cpu_ms_per_claim_and_end", 1000 * worked["cpu_s"] / n),
            ("million_rows_slower", slower),
        )
    }  # fmt: skip


def backups(order: Order, stores: Any, result: Result) -> None:
    """JB10: a backup under load holds every job that was acknowledged before it began."""
    from stead.store import backup

    n, stop, acknowledged = order.count(2, 10, 100), threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            acknowledged.append(stores.jobs.submit(_job()).id)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for i in range(n):
            time.sleep(0.3)
            before = set(acknowledged)
            file = order.work / f"{_name(stores)}-{i}"
            backup.back_up(stores.database, file, portable=bool(i % 2))
            with _stores(f"sqlite:///{order.work / f'{_name(stores)}-{i}.db'}") as other:
                if stores.database.is_sqlite or i % 2:
                    backup.restore(other.database, file)
                    names = {
                        x["row"][0]
                        for x in backup.lines(other.database)
                        if x.get("table") == "jobs"
                    }
                    result.failures += not before <= names
                    result.n += 1
    finally:
        stop.set()
        writer.join()


OWN: dict[str, Callable[[Order, Result], None]] = {"JB2": outages, "JB3": disk_faults}
PROMISES: dict[str, Callable[[Order, Any, Result], None]] = {
    "JB1": kills, "TR10": adoption, "JB4": adoption, "JB5": zombies, "JB6": keys, "JB7": states, "JB9": throughput, "JB10": backups,
}  # fmt: skip
