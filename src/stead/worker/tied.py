"""Somebody else's program, tied to us: started, watched until it answers, ended when we end.

Knows nothing about models. `python -m stead.worker.tied`, the order and its program on stdin.
"""

import asyncio
import time

from stead.core import process
from stead.core.errors import BackendError, ProcessError
from stead.core.http import Http, Waits
from stead.engines import child
from stead.engines.engine import ChildOrder, Program

_POLL_S = 0.05
_GRACE_S = 5.0  # below the last seconds that `engines.child` grants a program
_WAITS = Waits(connect_s=1.0, first_s=5.0, between_s=5.0)


def serve(given: ChildOrder, ready: child.Ready) -> None:
    """Run the program until it ends or we are told to stop. Raises: ProcessError("engine-died")."""
    program = given.program
    if program is None:
        raise ProcessError("no-program", "the order names no program")
    running = process.spawn(
        program.argv, name=given.order.name, env=program.environment, inherit=True
    )
    try:
        if asyncio.run(_answers(running, program)):
            ready(program.url)
        while not child.stopping.wait(_POLL_S * 4) and running.poll() is None:
            pass
    finally:
        status = running.stop(_GRACE_S)
    if not child.stopping.is_set():
        raise ProcessError(
            "engine-died",
            f"{program.argv[0]!r} for {given.order.model!r} ended with status {status}",
            status=status,
        )


async def _answers(running: process.Child, program: Program) -> bool:
    """Wait until the program's health route answers 200; False when it ends or we are stopped."""
    http = Http(keepalive_s=0)
    try:
        while running.poll() is None and not child.stopping.is_set():
            until = time.monotonic() + _WAITS.connect_s + 5.0
            try:
                answer = await http.open(
                    "GET", program.url + program.health, waits=_WAITS, deadline=until
                )
                async with answer:
                    if answer.status == 200 and running.poll() is None:
                        return True
            except BackendError:
                pass  # it does not listen yet
            await asyncio.sleep(_POLL_S)
    finally:
        await http.close()
    return False


if __name__ == "__main__":
    raise SystemExit(child.run(serve))
