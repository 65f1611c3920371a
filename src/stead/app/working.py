"""What works beside the server: a supervisor that carries jobs out, and a look at runs that others started.

Knows nothing about jobs (`app/supervisor`) or servers. When it stops, workers go on, and who comes next adopts them.
"""

import logging
import threading

from stead.app.indexing import Index
from stead.app.supervisor import Supervisor, capacity
from stead.core.errors import ResourceError
from stead.core.paths import Home
from stead.store.stores import Stores

_END_S = 15.0
_LOOK_S = 3.0  # until a run that the command line started is on the pages
_LOG = logging.getLogger("stead.jobs")


class Working:
    """Two threads of the server."""

    def __init__(self, home: Home, stores: Stores) -> None:
        self._stop = threading.Event()
        supervisor = Supervisor(stores, capacity(home))
        self._index = Index(stores, home)
        self._threads = [
            threading.Thread(
                target=supervisor.run, args=(self._stop,), name="stead-jobs", daemon=True
            ),
            threading.Thread(target=self._look, name="stead-index", daemon=True),
        ]

    def start(self) -> None:
        """Begin to claim jobs and to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Claim no more; what is at work goes on without us."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_END_S)

    def _look(self) -> None:
        while not self._stop.is_set():
            try:
                self._index.look()
            except (
                ResourceError
            ) as error:  # the database is away, as the supervisor says; it is asked again
                _LOG.debug("%s", error)
            self._stop.wait(_LOOK_S)
