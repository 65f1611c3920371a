"""The child's half of an engine program: read the order, say when ready, end with the parent.

Knows nothing about models. A program calls `main(serve)`; `serve(order, token, ready)` blocks until
`stopping` is set and calls `ready(url)` once it answers.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from stead.core import files
from stead.core.errors import SteadError
from stead.core.process import stop_requested
from stead.engines.engine import ChildOrder, Order, describe, read_order

Ready = Callable[[str], None]
Serve = Callable[[Order, str, Ready], None]

stopping = stop_requested
"""Set by SIGTERM, SIGINT or the parent's end; `serve` returns soon after."""

_LAST_S = 10.0  # a program that does not stop by itself is ended


def main(serve: Serve) -> int:
    """Run an engine program; return its exit status."""
    return run(lambda given, ready: serve(given.order, given.token, ready))


def run(serve: Callable[[ChildOrder, Ready], None]) -> int:
    """Run an engine program that wants all it was given; return its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    given = read_order(sys.stdin.buffer.readline())
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
    ready = Path(given.ready)
    sys.stderr.write(f"engine order {describe(given.order)}\n")
    try:
        serve(given, lambda url: _say(ready, {"url": url, "pid": os.getpid()}))
    except SteadError as error:
        _say(ready, {"error": error.to_dict()})
        return error.exit_status
    except Exception as error:  # house: broad-except - a process's entry: the parent is told
        traceback.print_exc()
        fault = SteadError("internal", f"{type(error).__name__}: {error}")
        _say(ready, {"error": fault.to_dict()})
        return 1
    return 0


def _say(path: Path, value: dict[str, object]) -> None:
    if not path.exists():  # only the first word counts; later faults are in the log
        files.write_json(path, value, mode=0o600)


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    stopping.set()


def _watch_parent() -> None:
    """Wait for the end of stdin, which comes when the parent ends, killed or not."""
    while sys.stdin.buffer.read(4096):
        pass
    stopping.set()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_LAST_S)
    os._exit(1)
