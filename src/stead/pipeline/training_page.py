"""The page of a finished training run: its curves, results, forecast against actual, settings.

Knows nothing about how anything was computed; reads the run folder. One self-contained file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stead.core import files, wording
from stead.evaluation import chart, curves
from stead.evaluation.page import Chart, Kpi, Kpis, Section, Table, html
from stead.planning import history
from stead.planning.plan import Plan

NAME = "report.html"
_Points = list[tuple[float, float]]
_LOGGED = ("step", "loss", "lr", "grad_norm", "tokens", "epoch", "skipped")
_TEXTS = ("sft", "pretrain")  # methods whose loss is that of a language model


class _Drawn(NamedTuple):
    """A chart of the page: which curves, under which names, in which unit."""

    title: str
    unit: str
    names: Mapping[str, str]  # curve → what it is called, "" like the title
    from_zero: bool = False


_METHODS = (
    _Drawn("Reward", "mean over the step's answers", {"reward": "training", "eval_reward": "held out"}),
    _Drawn("Spread of rewards", "standard deviation", {"reward_std": ""}, from_zero=True),
    _Drawn("Length of answers", "tokens, mean", {"completion_length": ""}, from_zero=True),
    _Drawn(
        "Cut answers, prompts without a difference", "share of answers, share of prompts",
        {"truncated": "cut at the length limit", "flat_groups": "prompts with equal rewards only"},
        from_zero=True,
    ),
    _Drawn("Margin", "reward of the chosen answer less that of the rejected one", {"rewards/margins": ""}),
    _Drawn("Accuracy", "share of pairs whose chosen answer is ahead", {"rewards/accuracies": ""}, from_zero=True),
    _Drawn("Rewards of pairs", "beta × nats", {"rewards/chosen": "chosen", "rewards/rejected": "rejected"}),
    _Drawn("Log-probability of answers", "nats", {"logps/chosen": "chosen", "logps/rejected": "rejected"}),
    _Drawn("Distance to the starting model", "nats per token", {"kl": ""}),
    _Drawn("Entropy", "nats per token", {"entropy": ""}, from_zero=True),
    _Drawn("Clipped", "share of tokens", {"clip_fraction": ""}, from_zero=True),
    _Drawn("Ratio of probabilities", "new to old, mean", {"ratio": ""}),
)  # fmt: skip
_LOOP = (
    _Drawn("Learning rate", "per step", {"lr": ""}, from_zero=True),
    _Drawn("Gradient norm", "before clipping", {"grad_norm": ""}, from_zero=True),
    _Drawn("Speed", "tokens per second", {"tokens_per_s": ""}, from_zero=True),
)


def write_page(run_dir: Path, plan: Plan, result: Mapping[str, Any]) -> Path:  # Any: JSON values
    """Write `report.html` into the run folder; return its path."""
    name = plan.config.name if plan.config.name is not None else run_dir.name
    config = plan.config
    under = f"{config.method.type} with {config.adapter.type} on {plan.model['path']}"
    sections = [
        Kpis(_kpis(result)),
        *_charts(run_dir, plan, result),
        _forecast(plan, result),
        _settings(plan),
    ]
    path = run_dir / NAME
    files.write_text(path, html(f"Training {name}", sections, subtitle=under, footer=f"plan {plan.hash}"))  # fmt: skip
    return path


def _kpis(result: Mapping[str, Any]) -> list[Kpi]:
    final = result["final_loss"]  # None: every step was left out
    shown = [Kpi("final loss", "none" if final is None else wording.loss(final))]
    if "final_reward" in result:
        shown.append(Kpi("final reward", f"{result['final_reward']:.4g}"))
    if result.get("eval_loss") is not None:
        shown.append(Kpi("held-out loss", wording.loss(result["eval_loss"])))
    if result.get("eval_reward") is not None:
        shown.append(Kpi("held-out reward", f"{result['eval_reward']:.4g}"))
    shown += [
        Kpi("steps", f"{result['steps']:,}"),
        Kpi("tokens", f"{result['tokens']:,}"),
        Kpi("tokens per second", f"{result['tokens_per_s']:,.0f}"),
        Kpi("peak memory", f"{result['peak_rss_mib']:,} MiB"),
    ]
    if result.get("ceiling_share") is not None:
        shown.append(Kpi("of the ceiling", wording.share(result["ceiling_share"])))
    return shown


def _charts(run_dir: Path, plan: Plan, result: Mapping[str, Any]) -> list[Section]:
    steps = curves.metrics(run_dir / "metrics.jsonl")
    told = curves.told(run_dir / "events.jsonl")
    losses = {"training": steps["loss"]} if "loss" in steps else {}
    held_out = told.get("eval_loss", [])
    if result.get("eval_loss") is not None and "best_step" not in result:
        held_out = [*held_out, (result["steps"], result["eval_loss"])]  # measured after the end
    losses |= {"held out": held_out} if held_out else {}
    unit = "nats per token" if plan.config.method.type in _TEXTS else ""
    loss = [_chart("Loss", unit, losses, from_zero=False)] if losses else []
    curves_of = {n: told[n] for n in ("eval_reward", "tokens_per_s") if n in told} | steps
    drawn = {name for one in (*_METHODS, *_LOOP) for name in one.names}
    rest = [n for n in steps if n not in drawn and n not in _LOGGED]
    also = [_Drawn(_words(n), "", {n: ""}) for n in rest]  # what else a method or adapter measures
    first, last = (
        [c for d in part for c in _drawn(d, curves_of)] for part in (_METHODS, (*_LOOP, *also))
    )
    return [*first, *loss, *last] if "reward" in steps else [*loss, *first, *last]


def _drawn(drawn: _Drawn, found: Mapping[str, _Points]) -> list[Section]:
    lines = {
        title if title else drawn.title: found[name]
        for name, title in drawn.names.items()
        if name in found
    }
    return [_chart(drawn.title, drawn.unit, lines, from_zero=drawn.from_zero)] if lines else []


def _words(name: str) -> str:
    """Return a measurement's name as a title: "rewards/number_match" is "Rewards: number match"."""
    text = name.replace("_", " ").replace("/", ": ")
    return text[:1].upper() + text[1:]


def _chart(title: str, unit: str, lines: Mapping[str, _Points], *, from_zero: bool) -> Chart:
    svg = chart.lines(lines, title=f"{title} by step", x="step", y=unit, from_zero=from_zero)
    return Chart(title, svg)


def _forecast(plan: Plan, result: Mapping[str, Any]) -> Table:
    said = plan.forecast
    rows = []
    took, held = history.took(result), result.get("measured", {}).get("disk_bytes")
    compared = [
        ("time", said.seconds, took, _seconds),
        ("memory", said.memory_bytes, float(result["peak_rss_mib"] << 20), _mebibytes),
        ("disk", said.disk_bytes, held, _mebibytes),
    ]
    for name, interval, actual, show in compared:
        error = f"{abs(interval.expected - actual) / actual:.0%}" if actual else ""
        span = f"{show(interval.low)} to {show(interval.high)}"
        was = "not measured" if actual is None else show(actual)
        rows.append((name, show(interval.expected), span, was, error))
    head = ("", "forecast", "range", "actual", "error")
    return Table("Forecast against actual", head, rows, (1, 2, 3, 4))


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def _mebibytes(value: float) -> str:
    return f"{value / (1 << 20):,.0f} MiB"


def _settings(plan: Plan) -> Table:
    rows = [(key, str(plan.value(key)), origin) for key, origin in plan.origins.items()]
    return Table("Settings", ("key", "value", "from"), rows)
