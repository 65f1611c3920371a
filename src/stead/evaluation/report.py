"""A finished evaluation as numbers, Markdown and one HTML page; and its files, written atomically.

Knows nothing about models. `rows.jsonl` holds every row's answers and scores; nothing here leaves
the machine. The page's parts (`html` and its sections) serve other reports too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stead.core import files
from stead.core.events import Emit, Saved, ignore
from stead.evaluation import chart
from stead.evaluation.compare import Result, finite
from stead.evaluation.evaluate import Outcome
from stead.evaluation.page import (
    Chart,
    Example,
    Examples,
    Kpi,
    Kpis,
    Section,
    Shown,
    Table,
    Text,
    Tone,
    html,
)
from stead.values import Report

__all__ = ["Extras", "html", "markdown", "page", "report", "summary", "write"]

_EXAMPLES = 8
_SHOWN = 2000  # characters of one text in the page; rows.jsonl has all of it


@dataclass(frozen=True, slots=True)
class Extras:
    """What else a page may show: curves by name, and finished sections (parity, timings)."""

    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    sections: Sequence[Section] = ()


def report(
    result: Result,
    tuned: Outcome,
    base: Outcome | None = None,
    *,
    meta: dict[str, Any] | None = None,  # Any: JSON facts (data, hashes, settings)
) -> Report:
    """Bring numbers and rows together."""
    facts: dict[str, Any] = {
        "model": tuned.model,
        "against": None if base is None else base.model,
        "n": len(tuned.items),
        "seconds": round(tuned.seconds + (0.0 if base is None else base.seconds), 3),
        "answer_tokens": tuned.tokens + (0 if base is None else base.tokens),
        "deviations": {"tuned": tuned.deviations}
        | ({} if base is None else {"base": base.deviations}),
    }
    rows = [_row(i, tuned, base) for i in range(len(tuned.items))]
    return Report(None, result, rows, facts | ({} if meta is None else meta))


def _row(i: int, tuned: Outcome, base: Outcome | None) -> dict[str, Any]:
    item = tuned.items[i]
    row: dict[str, Any] = {
        "where": item.where,
        "prompt": item.text if item.text is not None else item.prompt,
        "reference": item.reference,
        "answer": tuned.answers[i],
        "scores": {name: finite(s[i].value) for name, s in tuned.scores.items()},
    }
    if base is not None:
        row["base_answer"] = base.answers[i]
        row["base_scores"] = {name: finite(s[i].value) for name, s in base.scores.items()}
    return row


def summary(found: Report) -> dict[str, Any]:
    """Return the report as JSON values, without the rows."""
    return {"metrics": found.scores} | found.meta


def write(
    found: Report, folder: Path, *, extras: Extras | None = None, emit: Emit = ignore
) -> Report:
    """Write report.json, report.md, report.html and rows.jsonl into `folder`."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in found.rows)
    files.write_text(folder / "rows.jsonl", "".join(line + "\n" for line in lines))
    files.write_text(folder / "report.md", markdown(found))
    files.write_text(folder / "report.html", page(found, extras))
    files.write_json(folder / "report.json", summary(found))
    emit(Saved(stage="evaluate", path=str(folder / "report.html"), what="report"))
    return Report(folder, found.scores, found.rows, found.meta)


def number(value: float | None) -> str:
    """Print a score: four significant digits, "not finite" where JSON holds null."""
    return "not finite" if value is None else f"{value:.4g}"


def table(found: Report) -> Table:
    """Return the scores as cells, for terminal, Markdown and page alike."""
    if found.meta.get("against") is None:
        rows = [
            (name, number(r["value"]), _span(r["ci_low"], r["ci_high"]), str(r["n"]), _arrow(r))
            for name, r in found.scores.items()
        ]
        return Table("Scores", ("metric", "value", "95 % interval", "n", "better"), rows, (1, 2, 3))
    rows_ = [_compared(name, r) for name, r in found.scores.items()]
    tones: dict[tuple[int, int], Tone] = {
        (i, 6): {"better": "good", "worse": "bad"}.get(row[6], "")  # type: ignore[misc]
        for i, row in enumerate(rows_)
    }
    head = ("metric", "base", "tuned", "difference", "95 % interval", "p", "verdict", "n")
    return Table("Scores", head, rows_, (1, 2, 3, 4, 5, 7), tones)


def _compared(name: str, r: Mapping[str, Any]) -> tuple[str, ...]:
    delta = "not finite" if r["delta"] is None else f"{r['delta']:+.4g}"
    span = _span(r["ci_low"], r["ci_high"])
    p = "< 0.001" if r["p"] < 0.001 else f"{r['p']:.3f}"
    head = f"{name} {_arrow(r)}"
    return head, number(r["base"]), number(r["tuned"]), delta, span, p, r["verdict"], str(r["n"])


def _span(low: float | None, high: float | None) -> str:
    return f"{number(low)} to {number(high)}"


def _arrow(r: Mapping[str, Any]) -> str:
    return "↑" if r["higher_is_better"] else "↓"


def sentence(found: Report) -> str:
    """Say the result in one sentence."""
    against = found.meta.get("against")
    if against is None:
        shown = ", ".join(f"{name} {number(r['value'])}" for name, r in found.scores.items())
        return f"{found.meta['model']} on {found.meta['n']} rows: {shown}."
    groups: dict[str, list[str]] = {}
    for name, r in found.scores.items():
        groups.setdefault(r["verdict"], []).append(name)
    said = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in groups.items())
    return f"{found.meta['model']} against {against} on the same {found.meta['n']} rows: {said}."


def markdown(found: Report) -> str:
    """Return the report as Markdown: sentence, table, how it was computed."""
    cells = table(found)
    rule = ["---:" if j in cells.numbers else "---" for j in range(len(cells.head))]
    rows = [cells.head, rule, *cells.rows]
    grid = "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows)
    return f"# Evaluation\n\n{sentence(found)}\n\n{grid}\n\n## How\n\n{_how(found)}\n"


def _how(found: Report) -> str:
    lines = [
        f"- {name}: {r['signature'] if r['signature'] else 'plain'}; interval: {r['method']}"
        for name, r in found.scores.items()
    ]
    for key in ("data", "max_new_tokens", "temperature", "seed", "seconds"):
        if key in found.meta:
            lines.append(f"- {key}: {found.meta[key]}")
    for who, kinds in found.meta.get("deviations", {}).items():
        lines += [f"- {who}: {kind} in {n} rows" for kind, n in kinds.items()]
    return "\n".join(lines)


def page(found: Report, extras: Extras | None = None) -> str:
    """Return the report as one HTML page."""
    more = Extras() if extras is None else extras
    sections: list[Section] = [Kpis(_kpis(found)), table(found), _score_chart(found)]
    sections += _difference_charts(found)
    if more.curves:
        svg = chart.lines(more.curves, title="loss by step", x="step", y="loss")
        sections.append(Chart("Loss", svg))
    sections += more.sections
    sections += [_examples(found), Text("How", _how(found).replace("\n", "\n\n"))]
    data = str(found.meta.get("data", ""))
    return html(
        "Evaluation", sections, subtitle=sentence(found), footer=f"data: {data}" if data else ""
    )


def _kpis(found: Report) -> list[Kpi]:
    name, first = next(iter(found.scores.items()))
    shown = [Kpi("rows", str(found.meta["n"]))]
    if found.meta.get("against") is None:
        shown.insert(0, Kpi(name, number(first["value"])))
    else:
        tone: Tone = {"better": "good", "worse": "bad"}.get(first["verdict"], "")  # type: ignore[assignment]
        shown.insert(0, Kpi(f"{name}, base", number(first["base"])))
        shown.insert(1, Kpi(f"{name}, tuned", number(first["tuned"]), tone))
    return [*shown, Kpi("seconds", f"{found.meta['seconds']:.1f}")]


def _score_chart(found: Report) -> Chart:
    sides = ("value",) if found.meta.get("against") is None else ("base", "tuned")
    groups = []
    for name, r in found.scores.items():
        shown = [_bar(side, r) for side in sides if r[side] is not None]
        groups.append(chart.Group(name, shown))
    svg = chart.bars(groups, title="scores with 95 % intervals")
    return Chart("", svg, "Scores with 95 % intervals; each metric has its own scale.")


def _bar(side: str, r: Mapping[str, Any]) -> chart.Bar:
    prefix = "" if side == "value" else f"{side}_"
    label = "" if side == "value" else side
    return chart.Bar(label, r[side], r[f"{prefix}ci_low"], r[f"{prefix}ci_high"])


def _difference_charts(found: Report) -> list[Chart]:
    if found.meta.get("against") is None:
        return []
    charts = []
    for name in found.scores:
        both = [(row["base_scores"][name], row["scores"][name]) for row in found.rows]
        gaps = [b - a for a, b in both if a is not None and b is not None]
        if gaps:
            svg = chart.histogram(gaps, title=f"{name}, row by row", label=f"{name}: tuned - base")
            charts.append(Chart("", svg, f"{name}: difference row by row"))
    return charts


def _examples(found: Report) -> Examples:
    """Show rows where the models differ most, both ways, then others, best metric first."""
    chosen = sorted(found.rows, key=_gap)
    if len(chosen) > _EXAMPLES:
        half = _EXAMPLES // 2
        chosen = chosen[:half] + chosen[-half:]
    note = "The rows that lost most and gained most." if found.meta.get("against") else ""
    return Examples("Examples", [_example(row) for row in reversed(chosen)], note)


def _gap(row: Mapping[str, Any]) -> float:
    name = next(iter(row["scores"]))
    mine, other = row["scores"][name], row.get("base_scores", {}).get(name, 0.0)
    return (0.0 if mine is None else mine) - (0.0 if other is None else other)


def _example(row: Mapping[str, Any]) -> Example:
    shown = [Shown("expected", _cut(row["reference"]))] if row["reference"] else []
    if "base_answer" in row and row["reference"]:
        shown.append(Shown(_label("base", row["base_scores"]), _cut(row["base_answer"])))
    if row["reference"]:
        shown.append(Shown(_label("answer", row["scores"]), _cut(row["answer"])))
    return Example(row["where"], _cut(row["prompt"]), shown)


def _label(who: str, scores: Mapping[str, float | None]) -> str:
    return f"{who} · " + ", ".join(f"{name} {number(value)}" for name, value in scores.items())


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"
