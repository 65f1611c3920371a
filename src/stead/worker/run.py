"""The worker program: `python -m stead.worker.run job.json` runs one verb of the pipeline.

Knows nothing about who started it; `core/working` is what it does around the verb.
"""

import sys
from pathlib import Path

from stead.core.working import work
from stead.pipeline.verbs import VERBS

if __name__ == "__main__":
    raise SystemExit(work(Path(sys.argv[1]), VERBS, halting=("export",)))
