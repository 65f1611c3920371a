"""How a model in memory is shared among those who ask: places, memory, bits, guesses.

Knows nothing about models.
"""

from dataclasses import dataclass

_CACHE_BYTES = 2 << 30
_PANEL_BYTES = 1 << 30
_PLACES = 64


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model is shared. `rows`: answers written at once; `queue`: answers that may wait.

    None: as many as fit, and no bound. `budget_bytes` bounds keys and values, `panel_bytes` a second
    copy of float32 weights for products of few rows (see `panels`). `exact`: an answer alone gets the
    very bits it gets in company, and with guesses (see `slots`). `fuse`: compute the Llama family's
    layers here. `speculate`: guess tokens from the row's own text and check them together (`draft`).
    """

    rows: int | None = None
    queue: int | None = None
    budget_bytes: int = _CACHE_BYTES
    panel_bytes: int = _PANEL_BYTES
    exact: bool = False
    fuse: bool = True
    speculate: bool = True

    @property
    def places(self) -> int:
        """How many answers are written at once at most."""
        return _PLACES if self.rows is None else self.rows
