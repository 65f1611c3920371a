"""The platform's own supervisor: a thread beside the server that carries jobs out.

Knows nothing about jobs (`app/supervisor`) or servers. When it stops, workers go on, and who comes next adopts them.
"""

import threading

from stead.app.supervisor import Supervisor, capacity
from stead.core.paths import Home
from stead.store.stores import Stores

_END_S = 15.0


class Working:
    """A supervisor in a thread."""

    def __init__(self, home: Home, stores: Stores) -> None:
        self._stop = threading.Event()
        supervisor = Supervisor(stores, capacity(home))
        self._thread = threading.Thread(
            target=supervisor.run, args=(self._stop,), name="stead-jobs", daemon=True
        )

    def start(self) -> None:
        """Begin to claim jobs."""
        self._thread.start()

    def stop(self) -> None:
        """Claim no more; what is at work goes on without us."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)
