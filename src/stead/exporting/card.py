"""The model card: what an artifact is, what it was made from and what nobody has checked.

Knows nothing about formats. Only facts that are recorded are written; a number that is not known is
not there.
"""

from typing import Any

from stead.exporting import families
from stead.exporting.source import Source
from stead.values import Artifact

_RESULTS = ("steps", "tokens", "final_loss", "eval_loss")


def write(source: Source, artifact: Artifact | None) -> str:
    """Return the card as Markdown; `artifact` is None while its hash is not known yet."""
    lines = [f"# {source.name}", ""]
    lines += ["| fact | value |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in _facts(source, artifact)]
    lines += _metrics(source.facts)
    lines += ["", "## Limits", ""]
    lines += [f"- {limit}" for limit in _limits(source, artifact)]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:  # Any: JSON values
    return str(value).replace("|", "\\|").replace("\n", " ")


def _facts(source: Source, artifact: Artifact | None) -> list[tuple[str, Any]]:
    """Return the rows of the table, empty ones left out."""
    recorded = source.facts
    rows: list[tuple[str, Any]] = [
        ("architecture", families.architecture(source.config)),
        ("source SHA-256", source.hash),
        ("base", source.base.name if source.adapter is not None else None),
        ("base SHA-256", recorded.get("base_hash")),
        ("method", recorded.get("method")),
        ("data SHA-256", recorded.get("data_hash")),
        ("plan SHA-256", (recorded.get("lineage") or {}).get("plan")),
    ]
    if artifact is not None:
        rows += [
            ("format", f"{artifact.format} {artifact.quant}"),
            ("size", f"{artifact.bytes:,} bytes"),
            ("SHA-256", artifact.sha256),
        ]
    return [(name, value) for name, value in rows if value is not None]


def _metrics(recorded: dict[str, Any]) -> list[str]:  # Any: JSON values
    """Return what training measured, and the metrics of an evaluation if one was recorded."""
    result = recorded.get("result") or {}
    found = {name: result[name] for name in _RESULTS if result.get(name) is not None}
    found |= recorded.get("metrics") or {}
    if not found:
        return []
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in found.items()]
    return ["", "## Measured", "", "| metric | value |", "|---|---|", *rows]


def _limits(source: Source, artifact: Artifact | None) -> list[str]:
    limits = [
        "Quality was measured only where a table above says so.",
        "The license and limits of the base model apply.",
    ]
    if artifact is not None and artifact.quant not in ("f32", None):
        limits.append(
            f"Weights are rounded to {artifact.quant}; `stead parity` says by how much answers differ."
        )
    if artifact is not None:
        limits += [str(note) for note in artifact.meta.get("notes", ())]
    return limits
