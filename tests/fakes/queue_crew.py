"""A process that fills or empties a queue as fast as it can: `python queue_crew.py URL enqueue|work COUNT`.

Says "ready", waits for a line, works, and says as JSON what it took.
"""

import json
import statistics
import subprocess
import sys
import time
import uuid

import sqlalchemy as sa

from stead.store.db import Database
from stead.store.job_states import Ending, Job
from stead.store.queue import Queue
from stead.store.tables import JOBS


def job():
    """Return a queued job that no supervisor knows."""
    return Job(uuid.uuid4().hex, "count", "queued", "t", {}, "f", time.time(), folder="f")


def enqueue(queue, count):
    """Submit `count` jobs; no claim is timed."""
    for _ in range(count):
        queue.submit(job())
    return []


def work(queue, count):
    """Claim and end `count` jobs; return how long each claim took, in seconds."""
    claims = []
    for _ in range(count):
        begun = time.perf_counter()
        held = queue.claim("s", 60)
        claims.append(time.perf_counter() - begun)
        queue.end(held, Ending("succeeded"))
    return claims


def crew(stores, verb, count, rounds, processes=2):
    """Let processes do `count` together; return the round that took least."""
    url = stores.database.url.render_as_string(hide_password=False)
    line = [sys.executable, __file__, url, verb, str(count // processes)]
    found = []
    for _ in range(rounds):
        started = [
            subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for one in started:
            one.stdout.readline()
        for one in started:
            one.stdin.write("go\n")
            one.stdin.flush()
        took = [json.loads(one.communicate(timeout=3600)[0]) for one in started]
        found.append({
            "seconds": max(t["seconds"] for t in took), "cpu_s": sum(t["cpu_s"] for t in took),
            "claims_s": [c for t in took for c in t["claims_s"]],
        })  # fmt: skip
    return min(found, key=lambda one: one["seconds"])


def claim_ms(stores):
    """Return the median time of a claim, the least of five batches of a hundred."""
    return min(1000 * statistics.median(work(stores.jobs, 100)) for _ in range(5))


def fill(stores, count):
    """Copy queued jobs until there are `count`."""
    stores.jobs.submit(job())
    others = [c for c in JOBS.c if c.name not in ("id", "idempotency_key")]
    while (left := count - stores.jobs.unfinished()) > 0:
        names = JOBS.c.id + f"-{uuid.uuid4().hex[:6]}"
        query = sa.select(names, *others).where(JOBS.c.state == "queued").limit(left)
        with stores.database.write() as connection:
            insert = sa.insert(JOBS).from_select(["id", *(c.name for c in others)], query)
            connection.execute(insert)
    if not stores.database.is_sqlite:  # what autovacuum does a minute later
        with stores.database.write() as connection:
            connection.exec_driver_sql("ANALYZE jobs")


def main(url, verb, count):
    """Do it once."""
    queue = Queue(Database(url))
    queue.unfinished()  # opens the connection
    print("ready", flush=True)
    sys.stdin.readline()
    begun, cpu = time.perf_counter(), time.process_time()
    claims = {"enqueue": enqueue, "work": work}[verb](queue, int(count))
    took = {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}
    print(json.dumps(took | {"claims_s": claims}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
