"""What `serve` says when it listens: a line of JSON for programs, a call to copy for people.

Knows nothing about serving.
"""

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stead.cli import console
from stead.cli.serve_options import KEY_VARIABLE

if TYPE_CHECKING:
    from stead.app.served import Served


@dataclass(frozen=True, slots=True)
class View:
    """How a server shows itself; `keyed`: clients send a key."""

    url: str
    keyed: bool
    quiet: bool
    json: bool

    def announce(self, found: "Served", link: str | None) -> None:
        """Say what is served and where; `link` lets a browser in once."""
        if self.json:
            console.out_json(self._facts(found, link))
            sys.stdout.flush()  # whoever started us waits for this line, and the server runs on
        if self.quiet:
            return
        if link is not None:
            once = "" if link == self.url else " (works once, for 15 minutes)"
            console.note(f"\n  open  {link}{once}")
        if found.names:
            console.note(self._example(found))

    def _facts(self, found: "Served", link: str | None) -> dict[str, object]:
        local = found.local[0] if found.local else None
        endpoint = None if local is None else local.endpoint
        return {
            "ready": True,
            "url": self.url,
            "base_url": f"{self.url}/v1",
            "model": found.names[0] if found.names else "MODEL",
            "models": found.names,
            "link": link,
            "local": found.engines is not None,
            "engine": None if local is None else local.engine_name,
            "pid": os.getpid(),
            "engine_pid": None if endpoint is None else endpoint.pid,
        }

    def _example(self, found: "Served") -> str:
        key = f" -H 'Authorization: Bearer '${KEY_VARIABLE}" if self.keyed else ""
        asked = '"messages": [{"role": "user", "content": "Hello"}]'
        body = f'{{"model": "{found.names[0]}", {asked}}}'
        by = f"   engine {found.local[0].engine_name}" if found.local else ""
        return (
            f"\n  {self.url}/v1   model {', '.join(found.names)}{by}\n\n"
            f"  curl {self.url}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
            f"    -d '{body}'\n\n  Ctrl-C stops.\n"
        )
