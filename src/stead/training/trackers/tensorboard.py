"""Log every step for TensorBoard, into the run's own folder: `tensorboard --logdir RUN/tensorboard`.

Knows nothing about the loop. A resumed run writes a new file that voids what came after its step.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stead.core.lazy import lazy
from stead.training.tracker import Tracker

if TYPE_CHECKING:
    from torch.utils import tensorboard
else:
    tensorboard = lazy("torch.utils.tensorboard", extra="train")


class TensorBoard(Tracker):
    """Event files under `tensorboard/`."""

    requires = ("tensorboard",)
    _writer: Any = None  # Any: torch's SummaryWriter

    def open(self, step: int) -> None:
        """Begin a file; the settings are shown as text."""
        folder = str(self.tracked.folder / "tensorboard")
        self._writer = tensorboard.SummaryWriter(folder, purge_step=step + 1)
        if step == 0:
            rows = "\n".join(f"| {k} | {v} |" for k, v in self.tracked.settings.items())
            self._writer.add_text("settings", f"| key | value |\n|---|---|\n{rows}", 0)

    def go_back(self, step: int) -> None:
        """Begin a file that voids what came after `step`."""
        self._writer.close()
        self.open(step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, is_whole: bool) -> None:
        """Close the file."""
        self._writer.close()
