"""A plan as text for people: decisions with origins, counts, forecast, notes, hash.

Knows nothing about how it was made.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stead.cli import console

if TYPE_CHECKING:
    from stead.planning.plan import Interval, Plan


def show_plan(plan: "Plan", *, as_json: bool = False, quiet: bool = False) -> None:
    """Print a plan on stdout: as text, as one JSON line, or only its hash."""
    if as_json:
        console.out_json(plan.to_json())
    else:
        console.out(plan.hash if quiet else render(plan))


def show_proofs(
    plan: "Plan", proofs: list[dict[str, Any]], *, as_json: bool = False, quiet: bool = False
) -> None:
    """Print a plan and its proofs; one that failed ends the command with status 1."""
    if as_json:
        console.out_json(plan.to_json() | {"proofs": proofs})
    else:
        show_plan(plan, quiet=quiet)
        width = max(len(one["name"]) for one in proofs)
        for one in proofs:
            console.out(f"{one['name']:<{width}}  {one['state']:<8}  {one['message']}")
    if any(one["state"] == "failed" for one in proofs):
        raise SystemExit(1)


def render(plan: "Plan") -> str:
    """Return the plan as aligned text: decisions with origins, counts, forecast, notes, hash."""
    flat = {key: _value(plan, key) for key in plan.origins}
    width = max(map(len, flat))
    wide = min(40, max(map(len, flat.values())))
    lines = [f"{k:<{width}}  {v:<{wide}}  {plan.origins[k]}" for k, v in flat.items()]
    return "\n".join([*lines, "", *_counts(plan), "", *_forecast(plan), *_notes(plan), _hash(plan)])


def _value(plan: "Plan", key: str) -> str:
    found = plan.value(key)
    return f"{found:g}" if isinstance(found, float) else str(found)


def _counts(plan: "Plan") -> list[str]:
    data, model = plan.data, plan.model
    lengths = "  ".join(f"{name} {count}" for name, count in data["lengths"].items())
    return [
        f"model     {model['architecture']}, {model['parameters']:,} parameters, {model['dtype']}",
        f"data      {data['rows']:,} rows to learn from, {data['eval_rows']:,} held out",
        f"tokens    {data['tokens']:,} per epoch, {_trained(data['label_tokens'])}",
        f"lengths   {lengths}",
    ]


def _trained(label_tokens: int) -> str:
    if label_tokens:
        return f"{label_tokens:,} with a loss"
    return "all of prompts: the model writes the answers"


def _forecast(plan: "Plan") -> list[str]:
    found = plan.forecast
    mark = "" if found.verified else "  unverified: no run on this card was recorded yet"
    return [
        f"steps     {found.steps:,}, {found.tokens:,} tokens",
        f"memory    {_range(found.memory_bytes, _bytes)}  {_verdict(plan, 'memory')}{mark}",
        f"          {found.basis.get('memory_bytes', '')}",
        *_parts(found.memory_parts, _bytes),
        f"time      {_range(found.seconds, _seconds)}, a step {_range(found.step_seconds, _seconds)}{mark}",
        f"          {found.basis.get('seconds', '')}",
        *_parts(found.time_parts, _seconds),
        f"disk      {_range(found.disk_bytes, _bytes)}  {_verdict(plan, 'disk')}",
        *(
            f"            {name:<16} {_bytes(size)}"
            for name, size in found.disk_parts.items()
            if size
        ),
        f"error     {past(plan)}",
        *(f"hint: {v['hint']}" for v in plan.verdicts if "hint" in v),
    ]


def past(plan: "Plan") -> str:
    """Return in words how far the last forecasts for this processor or card were off."""
    found = plan.forecast.past
    if not found.runs:
        return "no finished run to compare with: the ranges are wide"
    known = {"memory": found.memory, "time": found.time, "disk": found.disk, "tokens": found.tokens}
    said = ", ".join(f"{name} {error:.0%}" for name, error in known.items() if error is not None)
    runs = "run" if found.runs == 1 else f"{found.runs} runs"
    return f"over your last {runs} here, the median error was: {said if said else 'not known'}"


def _verdict(plan: "Plan", name: str) -> str:
    for item in plan.verdicts:
        if item["allow"] == name:
            return f"{item['verdict']} ({_bytes(item['have_bytes'])} free)"
    return ""


def _parts(parts: "dict[str, Interval]", show: Callable[[float], str]) -> list[str]:
    """List the parts that matter: all but those below a hundredth of the whole."""
    whole = sum(p.expected for p in parts.values())
    told = [(n, p) for n, p in parts.items() if p.expected >= whole / 100]
    return [f"            {name:<16} {_range(part, show)}" for name, part in told]


def _notes(plan: "Plan") -> list[str]:
    return ["", *(f"note: {text}" for text in plan.notes)] if plan.notes else []


def _hash(plan: "Plan") -> str:
    return f"\nplan      {plan.hash}"


def _range(interval: "Interval", show: Callable[[float], str]) -> str:
    return f"{show(interval.expected)} ({show(interval.low)} to {show(interval.high)})"


def _bytes(count: float) -> str:
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"


def _seconds(count: float) -> str:
    if count < 120:
        return f"{count:.3g} s"
    return f"{count / 60:.0f} min" if count < 7200 else f"{count / 3600:.1f} h"
