"""Running out of memory, told apart from every other fault.

Knows nothing about what was computed. Torch says it in several ways: a class of its own on
accelerators, a RuntimeError of the allocator on the CPU; Python has MemoryError.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from stead.core.errors import TrainingError

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc",
          "cublas_status_alloc_failed", "cudnn_status_alloc_failed")  # fmt: skip


class OutOfMemory(TrainingError):  # noqa: N818 - the state, by its usual name
    """Memory ran out before anything was changed: the same step can be tried in smaller parts."""


def ran_out(error: BaseException) -> bool:
    """Say whether an error means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _WORDS)


@contextmanager
def typed(where: str, *, final: bool = False) -> Iterator[None]:
    """Turn every way of saying it into OutOfMemory, or a TrainingError when nothing can be retried.

    Raises: OutOfMemory("out-of-memory"), TrainingError("out-of-memory").
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        kind = TrainingError if final else OutOfMemory
        first = str(error).strip().splitlines()
        raise kind(
            "out-of-memory",
            f"memory ran out in {where}: {first[0][:200] if first else type(error).__name__}",
        ) from error
