"""Ids are unique in one process, between threads, and in a forked child."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

from stead.core.ids import new_id


def test_threads_never_share_an_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = [
            i for ids in pool.map(lambda _: [new_id() for _ in range(500)], range(16)) for i in ids
        ]

    assert len(set(found)) == len(found) == 8000
    assert all(re.fullmatch(r"[0-9a-f]{32}", i) for i in found)


def test_a_forked_child_makes_other_ids() -> None:
    read, write = os.pipe()
    before = new_id()
    pid = os.fork()
    if pid == 0:
        os.write(write, new_id().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs = os.read(read, 32).decode()
    os.close(read)
    os.close(write)

    assert theirs[:16] != before[:16]
