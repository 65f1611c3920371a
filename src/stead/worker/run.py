"""The worker program: `python -m stead.worker.run job.json` runs one verb of the pipeline.

Knows nothing about who started it; `core/working` is what it does around the verb.
"""

import sys
from pathlib import Path

from stead.core import allocator, files
from stead.core.working import work


def wants_scalable(job: Path) -> bool:
    """Say whether a job holds a plan that asks for the allocator which wastes less."""
    plan = files.read_json(job).get("spec", {}).get("plan")
    forecast = plan.get("forecast", {}) if isinstance(plan, dict) else {}
    return bool(forecast.get("allocator") == "scalable")


def main(job: Path) -> int:
    """Run the job's verb; return the exit status."""
    if wants_scalable(job):
        allocator.restart_scalable()
    from stead.pipeline.verbs import VERBS

    return work(job, VERBS, halting=("export",))


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
