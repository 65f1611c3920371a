"""The page of a finished training run: its curves, results, forecast against actual, settings.

Knows nothing about how anything was computed; reads the run folder. One self-contained file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stead.core import files
from stead.evaluation import chart, curves
from stead.evaluation.page import Chart, Kpi, Kpis, Section, Table, html
from stead.planning.plan import Plan

NAME = "report.html"
_CURVES = {"lr": "Learning rate", "grad_norm": "Gradient norm"}
_LOGGED = ("step", "loss", "tokens", "epoch", "skipped", *_CURVES)


def write_page(run_dir: Path, plan: Plan, result: Mapping[str, Any]) -> Path:  # Any: JSON values
    """Write `report.html` into the run folder; return its path."""
    name = plan.config.name if plan.config.name is not None else run_dir.name
    config = plan.config
    under = f"{config.method.type} with {config.adapter.type} on {plan.model['path']}"
    sections = [
        Kpis(_kpis(result)),
        *_charts(run_dir, result),
        _forecast(plan, result),
        _settings(plan),
    ]
    path = run_dir / NAME
    files.write_text(path, html(f"Training {name}", sections, subtitle=under, footer=f"plan {plan.hash}"))  # fmt: skip
    return path


def _kpis(result: Mapping[str, Any]) -> list[Kpi]:
    final = result["final_loss"]  # None: every step was left out
    shown = [Kpi("final loss", "none" if final is None else f"{final:.4f}")]
    if result.get("eval_loss") is not None:
        shown.append(Kpi("held-out loss", f"{result['eval_loss']:.4f}"))
    shown += [
        Kpi("steps", f"{result['steps']:,}"),
        Kpi("tokens", f"{result['tokens']:,}"),
        Kpi("tokens per second", f"{result['tokens_per_s']:,.0f}"),
        Kpi("peak memory", f"{result['peak_rss_mib']:,} MiB"),
    ]
    if result.get("ceiling_share") is not None:
        shown.append(Kpi("of the machine's ceiling", f"{result['ceiling_share']:.0%}"))
    return shown


def _charts(run_dir: Path, result: Mapping[str, Any]) -> list[Section]:
    steps = curves.metrics(run_dir / "metrics.jsonl")
    told = curves.told(run_dir / "events.jsonl")
    losses = {"training loss": steps["loss"]} if "loss" in steps else {}
    held_out = told.get("eval_loss", [])
    if result.get("eval_loss") is not None and "best_step" not in result:
        held_out = [*held_out, (result["steps"], result["eval_loss"])]  # measured after the end
    losses |= {"held-out loss": held_out} if held_out else {}
    found: list[Section] = [_chart("Loss", losses, from_zero=False)] if losses else []
    found += [_chart(title, {title: steps[n]}) for n, title in _CURVES.items() if n in steps]
    if "tokens_per_s" in told:
        found.append(_chart("Tokens per second", {"speed": told["tokens_per_s"]}))
    more = [n for n in steps if n not in _LOGGED]  # what the method or adapter measures
    return found + [_chart(name, {name: steps[name]}, from_zero=False) for name in more]


def _chart(
    title: str, lines: Mapping[str, list[tuple[float, float]]], *, from_zero: bool = True
) -> Chart:
    svg = chart.lines(lines, title=f"{title} by step", x="step", y="", from_zero=from_zero)
    return Chart(title, svg)


def _forecast(plan: Plan, result: Mapping[str, Any]) -> Table:
    said = plan.forecast
    rows = []
    held = result.get("measured", {}).get("disk_bytes")
    compared = [
        ("time", said.seconds, float(result["seconds"]), _seconds),
        ("memory", said.memory_bytes, float(result["peak_rss_mib"] << 20), _mebibytes),
        *([] if held is None else [("disk", said.disk_bytes, float(held), _mebibytes)]),
    ]
    for name, interval, actual, show in compared:
        error = f"{abs(interval.expected - actual) / actual:.0%}" if actual else ""
        span = f"{show(interval.low)} to {show(interval.high)}"
        rows.append((name, show(interval.expected), span, show(actual), error))
    head = ("", "forecast", "range", "actual", "error")
    return Table("Forecast against actual", head, rows, (1, 2, 3, 4))


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def _mebibytes(value: float) -> str:
    return f"{value / (1 << 20):,.0f} MiB"


def _settings(plan: Plan) -> Table:
    rows = [(key, str(plan.value(key)), origin) for key, origin in plan.origins.items()]
    return Table("Settings", ("key", "value", "from"), rows)
