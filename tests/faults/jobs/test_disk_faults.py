"""JB3 in small: SQLite on a full disk, with failing calls, with writers killed; nothing acknowledged is lost."""

import random
import time

import pytest
from tests.fakes import store_faults


def test_a_full_disk_refuses_new_rows_and_keeps_the_old_ones(tmp_path):
    url = store_faults.made(tmp_path)
    room = (tmp_path / "stead.db").stat().st_size + 40_000

    ids, codes, status, words = store_faults.told(store_faults.start(url, 60, limit_bytes=room))
    more = store_faults.told(store_faults.start(url, 5))

    assert (status, set(codes)) == (0, {"database-unavailable"}), words
    assert 0 < len(ids) < 60
    assert len(more[0]) == 5
    assert store_faults.broken(url, [*ids, *more[0]]) == []


@pytest.mark.skipif(
    store_faults.cannot_trace() is not None, reason=str(store_faults.cannot_trace())
)
@pytest.mark.parametrize(("call", "ordinal"), [("pwrite64", 3), ("pwrite64", 30), ("fdatasync", 3)])
def test_a_call_that_fails_takes_one_transaction_and_no_other(call, ordinal, tmp_path):
    url = store_faults.made(tmp_path)
    fault = (call, "EIO", ordinal)

    writer = store_faults.start(url, 6, inject=fault, trace=tmp_path / "trace")
    ids, codes, status, words = store_faults.told(writer)

    assert store_faults.was_injected(tmp_path / "trace")
    assert (status, codes) == (0, ["database-unavailable"]), words
    assert len(ids) == 5
    assert store_faults.broken(url, ids) == []


def test_killed_writers_leave_a_whole_database(tmp_path):
    url, rng, acknowledged = store_faults.made(tmp_path), random.Random(3), []
    for _ in range(4):
        pair = [store_faults.start(url, 10_000) for _ in range(2)]
        for one in pair:
            one.stdout.readline()  # it has begun
        time.sleep(rng.uniform(0.01, 0.1))
        for one in pair:
            one.kill()
            acknowledged += store_faults.told(one)[0]

    assert len(acknowledged) > 8
    assert store_faults.broken(url, acknowledged) == []
