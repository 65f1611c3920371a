"""gemma.cpp: `.sbs` weights of Gemma on the processor, by the pygemma wheel or a `gemma` program.

Knows nothing about their calls; `worker/gemma` does. Source: gemma.cpp gemma/gemma_args.h.
"""

from pathlib import Path

from stead.core.errors import ModelError
from stead.core.lazy import installed
from stead.engines.engine import OURS_IGNORE, Availability, Order, Program, ProgramEngine
from stead.engines.program import find_program, settings
from stead.values import Endpoint

_ALWAYS = frozenset(
    {
        "top_p",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repeat_penalty",
        "logit_bias",
        "seed",
    }
)


class GemmaCpp(ProgramEngine):
    """The engine for `.sbs` files. It answers one request at a time, the others wait.

    The wheel decides how tokens are chosen; a program obeys temperature, top_k and max_tokens. Which
    one: the program that the settings name, else the wheel, else `gemma` on PATH.
    """

    module = "stead.worker.gemma"
    extra = "gemma"
    loads = frozenset({"sbs"})
    lacks = frozenset({"n"})
    ignores = OURS_IGNORE
    process_bytes = 1 << 30  # activations and key-value cache of 2B, allocated at once
    estimates_usage = True

    @classmethod
    def is_available(cls) -> Availability:
        """Say whether the wheel or a program is here; nothing is imported or started."""
        given = settings().gemma
        if find_program(given, ("gemma",)) is not None:
            return Availability(ok=True)
        if not given and installed("pygemma"):
            return Availability(ok=True)
        reason = (
            f"there is no program {given!r}"
            if given
            else ("pygemma is not installed, and there is no program 'gemma' on PATH")
        )
        return Availability(ok=False, reason=reason, hint="pip install 'stead[gemma]'")

    def program(self, order: Order, token: str) -> Program | None:
        """Return the program, or None for the wheel."""
        given = settings().gemma
        if not given and installed("pygemma"):
            return None
        found = find_program(given, ("gemma",))
        return None if found is None else Program(argv=[found], environment={}, url="", health="")

    def start(self, order: Order, folder: Path, *, timeout_s: float = 300.0) -> Endpoint:
        """Load the weights. Raises: ModelError("adapter-not-loadable")."""
        if order.adapter is not None:
            raise ModelError(
                "adapter-not-loadable", f"gemma.cpp does not load the adapter {order.adapter!r}"
            )
        by_wheel = self.program(order, "") is None
        self.drops = _ALWAYS | {"temperature", "top_k"} if by_wheel else _ALWAYS
        return super().start(order, folder, timeout_s=timeout_s)
