"""Secrets: a value that does not print itself, and a filter that takes keys out of any text.

Knows nothing about who issued a key; shapes are data, registered values are exact.
"""

import hmac
import re
from collections.abc import Iterator, Mapping

MASK = "***"
_SHORTEST = 8  # a registered value of fewer letters would blank ordinary words

# Shapes as published by the issuers' own secret-scanning pages; longest prefix first.
SHAPES: Mapping[str, str] = {
    "anthropic": r"sk-ant-[A-Za-z0-9_-]{16,}",
    "openrouter": r"sk-or-(?:v1-)?[A-Za-z0-9]{16,}",
    "openai project": r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{16,}",
    "openai, deepseek": r"sk-[A-Za-z0-9]{16,}",
    "hugging face": r"hf_[A-Za-z0-9]{16,}",
    "hugging face org": r"api_org_[A-Za-z0-9]{16,}",
    "github": r"gh[pousr]_[A-Za-z0-9]{20,}",
    "github fine-grained": r"github_pat_[A-Za-z0-9_]{20,}",
    "gitlab": r"glpat-[A-Za-z0-9_-]{16,}",
    "google": r"AIza[A-Za-z0-9_-]{30,}",
    "google oauth": r"ya29\.[A-Za-z0-9_-]{20,}",
    "groq": r"gsk_[A-Za-z0-9]{16,}",
    "xai": r"xai-[A-Za-z0-9]{16,}",
    "perplexity": r"pplx-[A-Za-z0-9]{16,}",
    "fireworks": r"fw_[A-Za-z0-9]{16,}",
    "replicate": r"r8_[A-Za-z0-9]{16,}",
    "nvidia": r"nvapi-[A-Za-z0-9_-]{16,}",
    "anyscale": r"esecret_[A-Za-z0-9]{16,}",
    "together": r"tgp_v1_[A-Za-z0-9_-]{16,}",
    "aws access key": r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    "slack": r"xox[abposr]-[A-Za-z0-9-]{10,}",
    "stripe": r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",
    "npm": r"npm_[A-Za-z0-9]{20,}",
    "pypi": r"pypi-[A-Za-z0-9_-]{16,}",
    "weights & biases": r"wandb_v1_[A-Za-z0-9_-]{16,}",
    "json web token": r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    "stead key": r"sk-stead-[A-Za-z0-9_-]{16,}",
    "stead": r"stead-[a-z]+-[A-Za-z0-9_-]{16,}",
}
_PRIVATE = r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
_BARE = re.compile("(?<![A-Za-z0-9])(?:" + "|".join(SHAPES.values()) + ")|" + _PRIVATE, re.DOTALL)
_BEARER = re.compile(r"(?i)\b(bearer|basic|token)\s+([A-Za-z0-9._~+/=-]{8,})")
_NAMED = re.compile(
    r"""(?ix)(["']?[\w-]*(?:api[_-]?key|secret|password|passwd|access[_-]?token|auth[_-]?token
    |authorization|private[_-]?key)["']?\s*[=:]\s*)(["']?)([^\s"',;&}]{4,})"""
)
_URL = re.compile(r"(\w+://[^/\s:@]*):([^@\s/]+)@")

_values: set[str] = set()


def remember(value: str) -> None:
    """Take `value` out of every later log line, whatever its shape; under 8 letters it is ignored."""
    if len(value) >= _SHORTEST:
        _values.add(value)


def redact(text: str) -> str:
    """Return `text` with every registered value and every known key shape replaced by `***`."""
    for value in sorted(_values, key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _BARE.sub(MASK, text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _NAMED.sub(_keep_harmless, text)
    return _URL.sub(rf"\1:{MASK}@", text)


def _keep_harmless(found: re.Match[str]) -> str:
    already = found[3].lower() in ("bearer", "basic", "token", "none", "null", MASK)
    return found[0] if already else f"{found[1]}{found[2]}{MASK}"


class Secret:
    """A text that shows itself only through `reveal()`; logs drop its value from then on.

    Equal only to a Secret of the same text, compared in constant time; it cannot be pickled.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        remember(value)
        self._value = value

    def reveal(self) -> str:
        """Return the text; call it where it is sent, not before."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __iter__(self) -> Iterator[str]:
        return iter(MASK)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret cannot be pickled or copied to another process")
