"""What routing rules may ask about a request, found out when they ask.

Knows nothing about rules. What counts as code is a guess by its look; the whole text is read at most once.
"""

import re
from functools import cached_property

from stead.inference.candidate import Request, needs
from stead.inference.tokens import prompt_tokens
from stead.messages import EmbedRequest

_LOOKED_AT = 20_000  # characters; code shows itself early
_CODE = re.compile(
    r"```|^\s*(?:def \w+\(|class \w+[:({]|import \w+|from \w[\w.]* import |#include\b|fn \w+|func \w+"
    r"|function \w*\(|(?:const|let|var) \w+ ?=|public (?:static |class )|SELECT .{1,200}\bFROM\b|</?\w+>)"
    r"|^[^\n]{0,200}[;{]\s*$[^\n]*\n[^\n]{0,200}[;}]\s*$",
    re.MULTILINE,
)


class RequestFacts:
    """The facts of one request; `config.rules.Facts`."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.model = request.model
        self.tags = frozenset() if request.call is None else request.call.tags

    @cached_property
    def _texts(self) -> list[str]:
        request = self._request
        if isinstance(request, EmbedRequest):
            return [t for t in request.input if isinstance(t, str)]
        if request.messages is not None:
            return [m.text for m in request.messages]
        return [request.prompt] if isinstance(request.prompt, str) else []

    @cached_property
    def text(self) -> str:
        """The user's last message; the texts to embed, a line each."""
        request = self._request
        if isinstance(request, EmbedRequest) or request.messages is None:
            return "\n".join(self._texts)
        return next((m.text for m in reversed(request.messages) if m.role == "user"), "")

    @cached_property
    def length(self) -> int:
        """Characters of all that is sent."""
        return sum(map(len, self._texts))

    @cached_property
    def tokens(self) -> int:
        """Tokens of all that is sent, estimated."""
        return prompt_tokens(self._request)

    @property
    def turns(self) -> int:
        """Messages of the conversation; 1 for a bare prompt."""
        request = self._request
        if isinstance(request, EmbedRequest) or request.messages is None:
            return 1
        return len(request.messages)

    @cached_property
    def is_code(self) -> bool:
        """The user's last message seems to hold code."""
        return _CODE.search(self.text[:_LOOKED_AT]) is not None

    @cached_property
    def _needs(self) -> frozenset[str]:
        return frozenset(needs(self._request))

    @property
    def requires_vision(self) -> bool:
        """There are images."""
        return "vision" in self._needs

    @property
    def requires_tools(self) -> bool:
        """Functions may be called."""
        return "tools" in self._needs

    @property
    def requires_json(self) -> bool:
        """The answer must be JSON."""
        request = self._request
        wanted = None if isinstance(request, EmbedRequest) else request.response_format
        return wanted is not None and wanted.get("type") in ("json_object", "json_schema")
