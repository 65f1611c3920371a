"""Log every step to Weights & Biases; without a key, offline into the run's folder.

Knows nothing about the loop. `wandb sync RUN/wandb/offline-run-*` sends an offline run later.
"""

import netrc
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stead.core.lazy import lazy
from stead.training.tracker import PROJECT, Tracker

if TYPE_CHECKING:
    import wandb
else:
    wandb = lazy("wandb", extra="trackers")


_HOST = "api.wandb.ai"


class WandB(Tracker):
    """One run in the project WANDB_PROJECT, else "stead"; a resumed run goes on under its id."""

    requires = ("wandb",)
    _run: Any = None  # Any: wandb's run
    _id: str | None = None

    def open(self, step: int) -> None:
        """Begin a run, or go on with the one of before."""
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.tracked.name,
            config=dict(self.tracked.settings),
            dir=str(self.tracked.folder),
            mode=os.environ.get("WANDB_MODE", "online" if _has_key() else "offline"),
            id=self._id,
            resume="allow" if self._id is not None else None,
        )
        self._id = self._run.id

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        self._run.log(dict(values), step=step)

    def close(self, *, is_whole: bool) -> None:
        """Finish the run; one that was stopped is not shown as finished."""
        self._run.finish(exit_code=0 if is_whole else 1)

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the run's id there."""
        return {"id": self._id}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Go on with that run."""
        self._id = state["id"]


def _has_key() -> bool:
    """Say whether this user could log in: by variable, or by what `wandb login` left."""
    if "WANDB_API_KEY" in os.environ:
        return True
    try:
        return netrc.netrc().authenticators(_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
