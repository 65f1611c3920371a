"""What is closed at the end of its `with`, whatever happened inside.

Knows nothing about what is open.
"""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Has `close`, and calls it at the end of a `with`."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClosing(ABC):
    """Has `close`, and awaits it at the end of an `async with`."""

    __slots__ = ()

    @abstractmethod
    async def close(self) -> None:
        """Let go of what is open; safe to call twice."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
