"""The command line for people and for programs: every capability has a command; colors are for terminals."""

import os
import pty
import re
import subprocess
import sys

import pytest

import stead
from stead.cli.main import command_files
from stead.pipeline.verbs import VERBS

SAME_NAMES = {  # what the command line calls otherwise: a verb or public name → its command
    "new": "model", "prove": "plan", "probe": "plan", "measure": "evaluate", "fork": "runs",
    "Gateway": "generate", "Message": "chat", "Client": "jobs", "AsyncClient": "jobs",
}  # fmt: skip


@pytest.mark.spec("001-013")
@pytest.mark.parametrize("name", sorted({*VERBS, *stead.__all__} - {"__version__"}))
def test_what_the_library_can_do_has_a_command(name):
    assert SAME_NAMES.get(name, name) in command_files()


def shown(arguments, environment):
    """Return what a command writes when its output is a wide terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "stead", *arguments],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment,
    ) as child:  # fmt: skip
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
        except OSError:  # Linux: the other end of a pty is closed
            pass
        assert child.wait(60) == 0, said.decode()
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


@pytest.mark.spec("001-015")
def test_a_table_is_styled_on_a_terminal_and_plain_in_a_pipe(tmp_path):
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "PYTHONPATH", "OMP_NUM_THREADS"}}
    environment = keep | {"STEAD_HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "240"}
    line = ("model", "list")

    terminal = shown(line, environment)
    piped = subprocess.run(
        [sys.executable, "-m", "stead", *line], env=environment, capture_output=True, text=True,
        timeout=60, check=True,
    ).stdout  # fmt: skip

    styles = re.compile(r"\x1b\[[0-9;]*m")
    assert styles.search(terminal)
    assert "\x1b" not in piped
    assert styles.sub("", terminal).split() == piped.split()
