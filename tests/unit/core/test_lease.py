"""A lease is held by one process, named, and free once its holder is gone."""

import os
import subprocess
import sys
from pathlib import Path

from stead.core import lease

HOLD = "import sys, time; from pathlib import Path; from stead.core import lease\nwith lease.held(Path(sys.argv[1])) as mine:\n    print(mine, flush=True); time.sleep(60)"


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lease"

    with lease.held(path) as first, lease.held(path) as second:
        asked = lease.holder(path)
    with lease.held(path) as again:
        pass

    assert (first, second, again) == (True, False, True)
    assert asked == os.getpid()
    assert lease.holder(path) is None
    assert lease.holder(tmp_path / "nothing") is None


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lease"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    during = lease.holder(path)

    child.kill()
    child.communicate()

    assert during == child.pid
    assert lease.holder(path) is None
