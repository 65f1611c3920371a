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

    def open(self, step: int) -> None:
        """Begin a run with the settings as its parameters, or go on with the one of before."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = mlflow.MlflowClient(_local(self) if uri is None else uri)
        if self._run is not None:
            self._client.update_run(self._run, status="RUNNING")
            self._had = int(self._client.get_run(self._run).data.tags.get(_STEP, "0"))
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        self._run = self._client.create_run(experiment, run_name=self.tracked.name).info.run_id
        for key, value in self.tracked.settings.items():
            self._client.log_param(self._run, key, str(value)[:_LONGEST])

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each metric in one request; a step that the server has stays as it is."""
        if step <= self._had:  # done again after a kill: the same bits
            return
        now_ms = mlflow.utils.time.get_current_time_millis()
        points = [
            mlflow.entities.Metric(name, value, now_ms, step) for name, value in values.items()
        ]
        self._client.log_batch(self._run, points, tags=[mlflow.entities.RunTag(_STEP, str(step))])

    def go_back(self, step: int) -> None:
        """Write the steps after `step` again: they are other ones now."""
        self._had = min(self._had, step)

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
