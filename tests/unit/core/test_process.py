import os
import signal
import sys
import time
from pathlib import Path

import pytest

from stead.core import process
from stead.core.errors import ProcessError


def run(code, tmp_path, **options):
    return process.spawn(
        [sys.executable, "-c", code], name="sample", log=tmp_path / "logs" / "log", **options
    )


def test_a_child_ends_with_its_status_and_its_words_are_logged(tmp_path):
    child = run("import sys; print('hello'); sys.exit(3)", tmp_path)

    assert child.wait(30) == 3
    assert child.poll() == 3
    assert child.stop() == 3
    assert (tmp_path / "logs" / "log").read_text() == "hello\n"


def test_a_child_without_a_log_is_quiet():
    child = process.spawn([sys.executable, "-c", "print('x')"], name="quiet")

    assert child.wait(30) == 0


def test_waiting_ends_with_none_while_it_runs(tmp_path):
    child = run("import time; time.sleep(60)", tmp_path)

    assert child.wait(0.05) is None
    assert child.stop() == -signal.SIGTERM


def test_a_child_that_ignores_the_polite_signal_is_killed_with_its_group(tmp_path):
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(grandchild.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    child = run(code, tmp_path)
    log = tmp_path / "logs" / "log"
    while not log.read_text().endswith("\n"):
        time.sleep(0.02)
    grandchild = int(log.read_text())

    assert child.stop(grace_s=0.1) == -signal.SIGKILL

    for _ in range(200):
        if not _running(grandchild):
            break
        time.sleep(0.02)
    assert not _running(grandchild)


def _running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_signalling_a_group_that_is_gone_is_no_error(tmp_path):
    child = run("pass", tmp_path)
    child.wait(30)

    child.signal(signal.SIGTERM)


def test_a_program_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ProcessError) as caught:
        process.spawn([str(tmp_path / "none")], name="none")

    assert caught.value.code == "no-start"


def test_only_listed_variables_travel(monkeypatch):
    monkeypatch.setenv("SECRET_OF_ANOTHER", "x")
    monkeypatch.setenv("STEAD_SOMETHING", "y")
    monkeypatch.setenv("PATH", "/bin")

    found = process.environment({"EXTRA": "z"})

    assert "SECRET_OF_ANOTHER" not in found
    assert (found["STEAD_SOMETHING"], found["PATH"], found["EXTRA"]) == ("y", "/bin", "z")
    assert "EXTRA" not in process.environment()


def test_python_runs_our_modules_with_this_interpreter():
    assert process.python("stead.worker.run", "job.json") == [
        sys.executable,
        "-m",
        "stead.worker.run",
        "job.json",
    ]


def test_output_is_the_words_of_a_short_program():
    assert process.output([sys.executable, "-c", "print('hi')"]) == "hi\n"


@pytest.mark.parametrize("code", ["import sys; sys.exit(1)", "import time; time.sleep(60)"])
def test_a_short_program_that_fails_or_hangs_gives_none(code):
    assert process.output([sys.executable, "-c", code], timeout_s=1.0) is None


def test_an_absent_short_program_gives_none():
    assert process.output(["/no/such/program"]) is None


def test_the_stop_request_is_not_set_by_itself():
    assert not process.stop_requested.is_set()
    assert os.getpid() > 0


def test_what_ties_a_child_to_its_parent_reaches_it(tmp_path):
    code = "import sys; print(sys.stdin.buffer.readline().decode().strip(), flush=True)"
    child = run(code, tmp_path, tie=b"secret\n")

    assert child.wait(30) == 0
    assert child.stop() == 0
    assert (tmp_path / "logs" / "log").read_text() == "secret\n"
