"""Progress of `huggingface_hub` as our events: a class with the part of tqdm's shape it uses.

Knows nothing about terminals.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from stead.core.events import Emit, Progress, Started

STAGE = "download"


def bars(emit: Emit, total: int, what: str) -> type[Any]:
    """Return a bar class whose byte bars become Progress events, never going back.

    The library opens several bars for the same bytes (received, written), from several threads; the
    furthest of them is told.
    """
    lock = threading.Lock()
    told = [-1]
    emit(Started(stage=STAGE, total=total, unit="byte", info={"what": what}))

    def tell(done: int) -> None:
        with lock:
            if done > told[0]:
                told[0] = done
                emit(Progress(stage=STAGE, done=done))

    return type("Bar", (_Bar,), {"tell": staticmethod(tell)})


class _Bar:
    """One bar; only those that count bytes are told."""

    tell: Callable[[int], None]  # of the class that `bars` makes

    def __init__(self, *_: Any, **options: Any) -> None:
        self.n: float = options.get("initial", 0)
        self.total = options.get("total")
        self._bytes = options.get("unit") == "B"
        self.format_dict: dict[str, Any] = {"rate": None}

    def update(self, n: float | None = 1) -> None:
        self.n += n if n is not None else 0
        if self._bytes:
            self.tell(int(self.n))

    def nothing(self, *_: Any, **__: Any) -> None:
        """Accept what a bar on a terminal would show."""

    close = refresh = set_description = set_description_str = nothing
    set_postfix = set_postfix_str = clear = display = reset = nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None
