"""The end of a run: write `final/` with its lineage, then the result.

Knows nothing about the loop.
"""

import time
from pathlib import Path
from typing import Any

from stead.core import files, manifest
from stead.core.events import Saved
from stead.models import checkpoint, layers
from stead.models.adapter import Origin
from stead.training import fingerprint
from stead.training.callback import Run, peak_rss_mib
from stead.training.parts import Parts
from stead.training.resume import print_of


def finish(parts: Parts, run: Run) -> dict[str, Any]:
    """Write `final/`, then `result.json`."""
    losses = parts.log.losses()
    result = {
        "run": parts.run_dir.name,
        "out": str(parts.run_dir),
        "final": str(parts.run_dir / "final"),
        "kind": parts.adapter.kind,
        "steps": run.step,
        "tokens": run.tokens,
        "seconds": round(run.seconds, 3),
        "tokens_per_s": round((run.tokens - parts.tokens) / max(run.seconds, 1e-9), 1),
        "final_loss": losses[-1],
        "mean_loss": sum(losses) / len(losses),
        "eval_loss": parts.callbacks["evaluate"].state()["last"],
        "peak_rss_mib": peak_rss_mib(),
        "resume_level": _lowest(parts.resumes),
    }
    final = parts.run_dir / "final"
    manifest.commit(final, parts.adapter.kind, lambda folder: _fill(parts, folder, result))
    result["weights_sha256"] = _weights_hash(final)
    files.write_json(parts.run_dir / "result.json", result)
    parts.emit(Saved(stage="train", path=str(final), what=parts.adapter.kind))
    return result


def _fill(parts: Parts, folder: Path, result: dict[str, Any]) -> None:
    origin = Origin(parts.loaded.folder, str(parts.lineage.get("base_hash", "")), parts.lineage)
    with checkpoint.translated(folder):
        parts.stepper.close()  # weights are plain tensors again
        parts.adapter.save(parts.loaded.model, layers, folder, origin)
        parts.method.save(folder)
    result["weights_sha256"] = _weights_hash(folder)
    stead = {
        "base": str(parts.loaded.folder),
        "base_hash": origin.base_hash,
        "data_hash": parts.prepared.hash,
        "lineage": parts.lineage,
        "fingerprint": print_of(parts),
        "resumes": parts.resumes,
        "result": result,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    files.write_json(folder / "stead.json", stead)


def _weights_hash(folder: Path) -> str:
    """Return the SHA-256 over the weight files, one file's own or all files' together."""
    found = {p.name: files.hash_file(p) for p in sorted(folder.glob("*.safetensors"))}
    return next(iter(found.values())) if len(found) == 1 else files.hash_value(found)


def _lowest(resumes: list[dict[str, Any]]) -> str:
    levels = [r["level"] for r in resumes]
    return max(levels, key=fingerprint.LEVELS.index, default="exact")
