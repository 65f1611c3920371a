"""Write down what the model answers before the first step, every so many steps, and at the end.

Knows nothing about models; asking is passed in. A run that goes back forgets the answers of the steps it undoes, so
that the file of a resumed run has the same bytes as one of a run nobody touched.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.events import Sampled
from stead.training.callback import Callback, Run, StepOutcome

Answers = list[dict[str, Any]]  # Any: JSON values


class WriteSamples(Callback):
    """`path` None: another process writes."""

    def __init__(self, every: int, ask: Callable[[int], Answers], path: Path | None) -> None:
        self.every, self._ask, self._path = every, ask, path
        self._kept: Answers = []

    def begin(self, run: Run) -> None:
        """Forget what came after the step that training goes on from; ask the untrained model."""
        self._kept = [one for one in self._read() if one["step"] <= run.step]
        if run.step == 0:
            self._sample(run)

    def after_step(self, run: Run, outcome: StepOutcome) -> None:
        """Ask when it is time."""
        if run.step % self.every == 0 and run.step < run.total:
            self._sample(run)

    def end(self, run: Run) -> None:
        """Ask the trained model."""
        self._sample(run)

    def _sample(self, run: Run) -> None:
        found = self._ask(run.step)
        self._kept = [one for one in self._kept if one["step"] < run.step] + found
        if self._path is not None:
            lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in self._kept]
            files.write_text(self._path, "".join(lines))
        run.emit(Sampled(stage="train", done=run.step, answers=found))

    def _read(self) -> Answers:
        if self._path is None or not self._path.is_file():
            return []
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
