"""Our own loop: the default trainer and the reference for every other one.

Knows nothing that the job does not bring.
"""

from stead.training.callback import Run
from stead.training.trainer import Job, Trainer, loop


class Native(Trainer):
    """Run the loop in this process."""

    def fit(self, job: Job) -> Run:
        """Train from the job's start to its end."""
        return loop(job)
