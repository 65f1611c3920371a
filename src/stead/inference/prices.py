"""What tokens cost: exact whole picodollars (1e-12 USD) per token, no rounding anywhere.

Knows nothing about vendors or where a price was found. A price that is not known is None, never 0; what runs
here has the price `FREE`.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from stead.core.errors import ConfigError
from stead.messages import Usage

DOLLAR = 10**12
"""Picodollars in one US dollar; 64 bits hold some nine million dollars."""
_PER_MILLION = DOLLAR // 10**6
_MOST = 2**62


@dataclass(frozen=True, slots=True)
class Prices:
    """Picodollars per token of the prompt, of its part found in the vendor's cache, and of the answer.

    `write` is of the part written to that cache, where the vendor charges more for it, `long_write` of what
    is to be kept there for an hour; None: as any other token, as any other that is written.
    """

    input: int
    cached: int
    output: int
    write: int | None = None
    long_write: int | None = None

    @classmethod
    def of(
        cls,
        input: str | Decimal,
        output: str | Decimal,
        cached: str | Decimal | None = None,
        write: str | Decimal | None = None,
        long_write: str | Decimal | None = None,
    ) -> "Prices":
        """Read prices in US dollars per million tokens; without one of its own, a cached token costs as any.

        Raises: ConfigError("bad-price") for a negative one, or one finer than a picodollar per token.
        """
        prompt = _per_token(input)
        read = prompt if cached is None else _per_token(cached)
        writes = (None if p is None else _per_token(p) for p in (write, long_write))
        return cls(prompt, read, _per_token(output), *writes)

    def cost(self, usage: Usage) -> int:
        """Return what a usage costs, in picodollars."""
        prompt, answer = usage.prompt_tokens, usage.completion_tokens
        if prompt >= 0 <= answer and usage.cached_tokens == 0 == usage.cache_write_tokens:
            return prompt * self.input + answer * self.output
        prompt, answer = max(0, prompt), max(0, answer)
        cached = min(prompt, max(0, usage.cached_tokens))
        written = min(prompt - cached, max(0, usage.cache_write_tokens))
        long = min(written, max(0, usage.long_write_tokens))
        fresh = prompt - cached - written
        kept = cached * self.cached + (written - long) * self._write + long * self._long_write
        return fresh * self.input + kept + answer * self.output

    def most(self, prompt_tokens: int, answer_tokens: int, *, writes: bool = True) -> int:
        """Return the most that so many tokens can cost, in picodollars; not `writes`: none is for the cache."""
        dearest = max(self.input, self.cached)
        if writes:
            dearest = max(dearest, self._write, self._long_write)
        return prompt_tokens * dearest + answer_tokens * self.output

    @property
    def _write(self) -> int:
        return self.input if self.write is None else self.write

    @property
    def _long_write(self) -> int:
        return self._write if self.long_write is None else self.long_write


FREE = Prices(0, 0, 0)


def picodollars(dollars: str | int | float | Decimal) -> int:
    """Return an amount of US dollars exactly. Raises: ConfigError("bad-price")."""
    return _whole(dollars, DOLLAR)


def dollars(picodollars: int) -> Decimal:
    """Return an amount in US dollars, for display."""
    return Decimal(picodollars) / DOLLAR


def _per_token(price: str | Decimal) -> int:
    return _whole(price, _PER_MILLION)


def _whole(amount: str | int | float | Decimal, unit: int) -> int:
    try:
        exact = Decimal(str(amount)) * unit
    except InvalidOperation as error:
        raise ConfigError("bad-price", f"{str(amount)[:40]!r} is no amount of dollars") from error
    if not exact.is_finite() or not 0 <= exact < _MOST or exact != int(exact):
        raise ConfigError(
            "bad-price", f"{str(amount)[:40]!r} dollars is negative, too much, or too fine to count"
        )
    return int(exact)
