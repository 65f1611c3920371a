"""The demo's report page: numbers, curves, before and after, proof and timings on one HTML page.

Knows nothing about how the steps ran; it shows what they returned.
"""

import json
from pathlib import Path
from typing import Any

from stead.core import files
from stead.evaluation import chart
from stead.evaluation.curves import losses
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
    html,
)

ABOUT = (
    "A small language model learns to turn a customer's message into a strict one-line JSON ticket. Last names, brands, order "
    "codes, cities, dates and amounts of the held-out rows never occur in training; first names, kinds of goods and the "
    "phrasings of the generator do.\n\n"
    "Rows and truth come from a seeded generator, so this page shows that the whole path works and by how much the "
    "model improved. It does not say how a model of this size would do on real mail."
)


def summary(steps: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the line of JSON that the demo ends with."""
    scores = steps["evaluate"]["metrics"]["exact_match"]
    parity = steps["parity"]
    return {
        "seconds": round(seconds, 1),
        "base_exact_match": scores["base"],
        "tuned_exact_match": scores["tuned"],
        "ci_low": scores["tuned_ci_low"],
        "ci_high": scores["tuned_ci_high"],
        "n": scores["n"],
        "tokens_per_s": steps["train"]["tokens_per_s"],
        "parity": {"verdict": parity["verdict"], **parity["hops"][0]},
        "served_answer": steps["served"]["answers"][0]["answer"],
    }


def write(folder: Path, steps: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    """Write `index.html` and `report.json` into `folder`; return the summary."""
    found = summary(steps, seconds)
    sections = [
        _numbers(found, steps), Text("What this is", ABOUT), *_curves(steps), _scores(steps),
        _before_after(steps), _parity(steps["parity"]), _served(steps["served"]), _timings(steps),
    ]  # fmt: skip
    page = html(
        "From raw rows to a served model",
        sections,
        subtitle="stead demo: support messages to tickets",
    )
    files.write_text(folder / "index.html", page)
    files.write_json(folder / "report.json", found)
    return found


def _numbers(found: dict[str, Any], steps: dict[str, Any]) -> Kpis:
    interval = f"95 %: {found['ci_low']:.1%} to {found['ci_high']:.1%}"
    return Kpis(
        (
            Kpi("exact match before", f"{found['base_exact_match']:.1%}"),
            Kpi(f"after ({interval})", f"{found['tuned_exact_match']:.1%}", "good"),
            Kpi("held-out rows", str(found["n"])),
            Kpi("tokens/s in training", f"{found['tokens_per_s']:,.0f}"),
            Kpi("served file is the model", steps["parity"]["verdict"]),
            Kpi("seconds, everything", f"{found['seconds']:.0f}"),
        )
    )


def _curves(steps: dict[str, Any]) -> list[Section]:
    curves = losses(Path(steps["train"]["out"]) / "events.jsonl")
    if not curves:
        return []
    drawn = chart.lines(curves, title="loss by step", x="step", y="loss")
    return [Chart("Loss", drawn, "cross-entropy of the answers' tokens, in nats")]


def _scores(steps: dict[str, Any]) -> Table:
    rows = []
    for name, score in steps["evaluate"]["metrics"].items():
        span = f"{score['ci_low']:+.3f} to {score['ci_high']:+.3f}"
        cells = (f"{score['base']:.3f}", f"{score['tuned']:.3f}", f"{score['delta']:+.3f}", span)
        rows.append((name, *cells, f"{score['p']:.2g}"))
    head = ("metric", "base", "tuned", "difference", "95 % interval", "p")
    return Table("Held-out scores, paired", head, rows, numbers=(1, 2, 3, 4, 5))


def _before_after(steps: dict[str, Any]) -> Examples:
    path = Path(steps["evaluate"]["out"]) / "reports" / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    wrong = [row for row in rows if row["scores"]["exact_match"] < 1]
    picked = [row for row in rows if row["scores"]["exact_match"] == 1][:3] + wrong[:2]
    items = []
    for row in picked:
        right = row["scores"]["exact_match"] == 1
        shown = [
            Shown("base", row["base_answer"][:300], "bad"),
            Shown("tuned", row["answer"], "good" if right else "bad"),
        ]
        if not right:
            shown.append(Shown("wanted", row["reference"]))
        items.append(Example(row["where"].rpartition("/")[2], row["prompt"], shown))
    note = f"Three right answers and up to two of the {len(wrong)} wrong ones."
    return Examples("Before and after", items, note=note)


def _parity(parity: dict[str, Any]) -> Table:
    rows = []
    for hop in parity["hops"]:
        rows += [(key.replace("_", " "), _text(value)) for key, value in hop.items()]
    note = "The trained model in transformers against the exported file in llama.cpp, on held-out conversations."
    return Table(f"Parity: {parity['verdict']}", ("what", "found"), rows, note=note)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _served(served: dict[str, Any]) -> Examples:
    items = [
        Example(
            f"{a['seconds']} s, {a['completion_tokens']} tokens",
            a["prompt"],
            [Shown("answer over HTTP", a["answer"], "good" if a["equal"] else "bad")],
        )
        for a in served["answers"]
    ]
    return Examples("Asked over HTTP with the official OpenAI client", items)


def _timings(steps: dict[str, Any]) -> Table:
    names = ("train", "evaluate", "export", "parity", "served")
    rows = [(name, f"{steps[name].get('wall_s', 0):.1f}") for name in names]
    return Table("Where the time went", ("step", "seconds"), rows, numbers=(1,))
