"""Log every step as a run of MLflow, wherever MLFLOW_TRACKING_URI says; else into the run's folder.

Knows nothing about the loop. A resumed run goes on under the same MLflow run.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stead.core.lazy import lazy
from stead.training.tracker import PROJECT, Tracker

if TYPE_CHECKING:
    import mlflow
else:
    mlflow = lazy("mlflow", extra="trackers")

_STEP = "stead.step"  # a tag: which step was written last
_MEASURED = "stead.measured"  # a tag: after which step held-out rows were measured last
_HELD_OUT = "eval/"  # how those metrics begin: the last step's come when the step has been written
_PATIENCE = {  # a server that is away must not stop the training for the library's four minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_LONGEST = 500  # characters of a parameter's value that every MLflow server takes


class MLflow(Tracker):
    """One MLflow run in the experiment MLFLOW_EXPERIMENT_NAME, else "stead"."""

    requires = ("mlflow",)
    _client: Any = None  # Any: mlflow.MlflowClient
    _run: str | None = None
    _had = 0  # the newest step that the server had when we came back
    _had_measured = 0  # likewise, of measurements

    def open(self, step: int) -> None:
        """Begin a run with the settings as its parameters, or go on with the one of before."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = mlflow.MlflowClient(_local(self) if uri is None else uri)
        if self._run is not None:
            self._client.update_run(self._run, status="RUNNING")
            tags = self._client.get_run(self._run).data.tags
            self._had, self._had_measured = (int(tags.get(t, "0")) for t in (_STEP, _MEASURED))
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        self._run = self._client.create_run(experiment, run_name=self.tracked.name).info.run_id
        for key, value in self.tracked.settings.items():
            self._client.log_param(self._run, key, str(value)[:_LONGEST])

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each metric in one request; what the server has stays as it is."""
        new = {n: v for n, v in values.items() if step > self._known(n)}
        if not new:  # done again after a kill: the same bits
            return
        now_ms = mlflow.utils.time.get_current_time_millis()
        points = [mlflow.entities.Metric(name, value, now_ms, step) for name, value in new.items()]
        written = sorted({_MEASURED if n.startswith(_HELD_OUT) else _STEP for n in new})
        tags = [mlflow.entities.RunTag(tag, str(step)) for tag in written]
        self._client.log_batch(self._run, points, tags=tags)

    def _known(self, name: str) -> int:
        return self._had_measured if name.startswith(_HELD_OUT) else self._had

    def go_back(self, step: int) -> None:
        """Write the steps after `step` again: they are other ones now."""
        self._had, self._had_measured = min(self._had, step), min(self._had_measured, step)

    def close(self, *, is_whole: bool) -> None:
        """Mark the run as finished, or as one that was stopped."""
        self._client.set_terminated(self._run, "FINISHED" if is_whole else "KILLED")

    def state(self) -> dict[str, Any]:  # Any: JSON values
        """Return the MLflow run's id."""
        return {"run": self._run}

    def restore(self, state: dict[str, Any]) -> None:  # Any: JSON values
        """Go on with that run."""
        self._run = state["run"]


def _local(tracker: Tracker) -> str:
    folder = tracker.tracked.folder / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"
