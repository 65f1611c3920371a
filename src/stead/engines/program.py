"""An engine that is somebody else's program serving HTTP: found, started, tied to us, asked if it is up.

Knows nothing about single programs; a file in `kinds` says how to call one. The program runs below
`stead.worker.tied`, which ends it when this process ends, however that happens.
"""

import os
import shutil
import socket
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from stead.config.settings import EngineSettings, read_settings
from stead.core.errors import MissingDependency, ProcessError
from stead.core.paths import Home
from stead.engines.engine import Availability, Order, Program, ProgramEngine
from stead.values import Endpoint

_TRIES = 3  # a port that was free may be taken before the program binds it
_TAKEN = ("address already in use", "couldn't bind", "failed to bind", "errno 98", "errno 48")


def settings() -> EngineSettings:
    """Return the engines' settings as file and environment have them now."""
    return read_settings(Home.find()).value.engines


def find_program(given: str, names: tuple[str, ...]) -> str | None:
    """Return the program's path: as the setting names it, else the first of `names` on PATH."""
    for name in (given,) if given else names:
        found = shutil.which(str(Path(name).expanduser()))
        if found is not None:
            return found
    return None


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class HttpProgram(ProgramEngine):
    """A program that serves HTTP on a loopback port of our choice.

    The key travels in the program's environment (`key_variable`), never in its arguments, which every
    user of the machine can read. Extra arguments come from the setting `engines.<name>_arguments`.
    """

    module = "stead.worker.tied"
    programs: ClassVar[tuple[str, ...]]  # names on PATH, the best first
    setting: ClassVar[str]  # the field of EngineSettings that names the program
    install: ClassVar[str]  # the command that brings it
    key_variable: ClassVar[str | None] = None
    health: ClassVar[str] = "/health"

    @classmethod
    def command(cls) -> list[str] | None:
        """Return how the program is called, without arguments; None when it is not here."""
        found = find_program(getattr(settings(), cls.setting), cls.programs)
        return None if found is None else [found]

    @classmethod
    def is_available(cls) -> Availability:
        """Say whether the program is found; nothing is started."""
        if cls.command() is not None:
            return Availability(ok=True)
        given = getattr(settings(), cls.setting)
        looked = repr(given) if given else " or ".join(map(repr, cls.programs)) + " on PATH"
        return Availability(ok=False, reason=f"there is no program {looked}", hint=cls.install)

    @abstractmethod
    def arguments(self, order: Order, port: int) -> list[str]:
        """Return the program's arguments. Raises: ConfigError, ModelError for what it cannot do."""

    def environment(self, order: Order, port: int, token: str) -> dict[str, str]:
        """Return what is added to the program's environment."""
        return {} if self.key_variable is None else {self.key_variable: token}

    def program(self, order: Order, token: str) -> Program:
        """Return what `worker.tied` is to run for an order."""
        command = self.command()
        if command is None:
            found = self.is_available()
            raise MissingDependency("engine-unavailable", found.reason, hint=found.hint)
        port = free_port()
        return Program(
            argv=[*command, *self.arguments(order, port)],
            environment=self.environment(order, port, token),
            url=f"http://127.0.0.1:{port}",
            health=self.health,
        )

    def start(self, order: Order, folder: Path, *, timeout_s: float = 300.0) -> Endpoint:
        """Start the program and wait until it answers; a port taken meanwhile is tried anew."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                return super().start(order, folder, timeout_s=timeout_s)
            except ProcessError as error:
                if not left or not any(w in error.message.lower() for w in _TAKEN):
                    raise
        raise AssertionError("unreachable")


def pass_through(*names: str) -> dict[str, str]:
    """Return those of our variables that the program needs too."""
    return {name: os.environ[name] for name in names if name in os.environ}
