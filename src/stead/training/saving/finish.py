"""The end of a run: write `final/` with its lineage, then the result.

Knows nothing about the loop.
"""

import time
from pathlib import Path
from typing import Any, Literal

import torch

from stead.core import files, manifest
from stead.core.events import Saved
from stead.models import checkpoint
from stead.models.adapter import Origin
from stead.models.layers import layers
from stead.models.load import load_model
from stead.training.callback import Run, peak_rss_mib
from stead.training.loop.parts import Parts
from stead.training.saving import fingerprint
from stead.training.saving.resume import print_of
from stead.training.stepping.sharded import whole_state


def finish(parts: Parts, run: Run) -> dict[str, Any]:
    """Write `final/`, then `result.json`."""
    _choose(parts)
    model = _model(parts)
    if not parts.world.leads:
        parts.world.wait()
        found: dict[str, Any] = files.read_json(parts.run_dir / "result.json")
        return found
    losses, rewards = parts.log.values("loss"), parts.log.values("reward")
    result = {
        "run": parts.run_dir.name,
        "out": str(parts.run_dir),
        "final": str(parts.run_dir / "final"),
        "kind": parts.adapter.kind,
        "method": parts.learning.method,
        "steps": run.step,
        "tokens": run.tokens,
        "seconds": round(run.seconds, 3),  # since the start or the last resume
        **({"resumed_after": parts.start} if parts.start else {}),
        "tokens_per_s": round((run.tokens - parts.tokens) / max(run.seconds, 1e-9), 1),
        "final_loss": losses[-1] if losses else None,
        "mean_loss": sum(losses) / len(losses) if losses else None,
        **({"final_reward": rewards[-1]} if rewards else {}),
        **_judged(parts, run),
        "peak_rss_mib": peak_rss_mib(),
        "resume_level": _lowest(parts.resumes),
        "processes": parts.world.size,
        **parts.adapter.report(),
    }
    full_speed = getattr(parts.callbacks["progress"], "full_speed", None)
    if full_speed is not None:
        result["ceiling_share"] = round(result["tokens_per_s"] / full_speed, 4)
    final = parts.run_dir / "final"
    manifest.commit(final, parts.adapter.kind, lambda folder: _fill(parts, model, folder, result))
    result["weights_sha256"] = _weights_hash(final)
    files.write_json(parts.run_dir / "result.json", result)
    parts.world.wait()
    parts.emit(Saved(stage="train", path=str(final), what=parts.adapter.kind))
    return result


def _choose(parts: Parts) -> None:
    """Put the weights that a callback prefers to the last ones into the model."""
    for callback in parts.callbacks.values():
        chosen = callback.weights()
        if chosen is not None:
            parts.optimizer.put(chosen)


def _judged(parts: Parts, run: Run) -> dict[str, Any]:
    """Return the held-out loss or reward of the weights that are written, and why there are no others."""
    state = parts.callbacks["evaluate"].state()
    found: dict[str, Any] = {"eval_loss": state["last"]}
    by_reward = state["last"] is None and state["reward"] is not None
    if by_reward:
        found["eval_reward"] = state["reward"]
    if "best" in parts.callbacks:
        best = parts.callbacks["best"].state()
        value = {"eval_reward": -best["loss"]} if by_reward else {"eval_loss": best["loss"]}
        found |= value | {"best_step": best["step"]}
    if run.stop is not None:
        found["stopped"] = run.stop
    return found


def _fill(parts: Parts, model: Any, folder: Path, result: dict[str, Any]) -> None:
    origin = Origin(parts.loaded.folder, str(parts.lineage.get("base_hash", "")), parts.lineage)
    with checkpoint.translated(folder):
        parts.adapter.save(model, layers, folder, origin)
        parts.method.save(folder)
    result["weights_sha256"] = _weights_hash(folder)
    stead = {
        "base": str(parts.loaded.folder),
        "base_hash": origin.base_hash,
        "data_hash": parts.prepared.hash,
        "lineage": parts.lineage,
        "fingerprint": print_of(parts),
        "resumes": parts.resumes,
        "adjustments": parts.adjustments.values(),
        "result": result,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    files.write_json(folder / "stead.json", stead)


def _model(parts: Parts) -> Any:  # Any: a transformers model
    """Return the trained model with plain, whole weights. All processes must call it."""
    parts.stepper.close()  # weights are plain tensors again
    if not parts.world.sharded:
        return parts.loaded.model
    state = whole_state(parts.loaded.model)
    if not parts.world.leads:
        return None
    plain = load_model(parts.loaded.folder, dtype=_DTYPES[parts.loaded.dtype], device="cpu").model
    parts.adapter.wrap(plain, layers, parts.trainer.seed)
    plain.load_state_dict(state)
    return plain


_DTYPES: dict[torch.dtype, Literal["fp32", "bf16", "fp16"]] = {
    torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16",
}  # fmt: skip


def _weights_hash(folder: Path) -> str:
    """Return the SHA-256 over the weight files, one file's own or all files' together."""
    found = {p.name: files.hash_file(p) for p in sorted(folder.glob("*.safetensors"))}
    return next(iter(found.values())) if len(found) == 1 else files.hash_value(found)


def _lowest(resumes: list[dict[str, Any]]) -> str:
    levels = [r["level"] for r in resumes]
    return max(levels, key=fingerprint.LEVELS.index, default="exact")
