"""What the pages' server talks to: a cloud vendor and a hub, both on loopback, and the strategy that names the vendor.

Knows nothing about pages. The vendor says numbered words, one every few milliseconds, so that an answer can be stopped.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.vendors import Fault, mock_vendor

WORDS = 400  # in an answer without a limit: far longer than a test looks
_PAUSE_S = 0.02
_STRATEGY = """version: "2.0"
strategies:
  - name: small_cloud
    description: A small cloud model, and a larger one when it does not answer.
    components:
      cloud_api:
        type: openai_compatible
        config:
          provider: openai
          base_url: {url}
          api_key: ${{UI_VENDOR_KEY}}
          default_model: gpt-4o-mini
    fallback_chain:
      - name: larger
        type: openai_compatible
        config:
          provider: openai
          base_url: {url}
          api_key: ${{UI_VENDOR_KEY}}
          default_model: gpt-4o
"""
ENVIRONMENT = {"UI_VENDOR_KEY": "sk-" + "v" * 24}


@contextmanager
def vendor() -> Iterator[Any]:
    """Run the vendor in a thread."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def run() -> None:
        async with mock_vendor(length=WORDS, always=Fault(pause_s=_PAUSE_S)) as made:
            found.append(made)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def strategy(folder: Path, url: str) -> Path:
    """Write the strategy file."""
    path = folder / "small_cloud.yaml"
    path.write_text(_STRATEGY.format(url=url))
    return path
