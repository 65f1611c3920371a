"""How runs look on a terminal: a finished run's result, a list, one run, several side by side.

Knows nothing about where runs lie or how they are controlled.
"""

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from stead.cli import console
from stead.core import wording

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from stead.app.run_control import Comparison
    from stead.app.run_folders import RunSummary

_STYLES = {
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "interrupted": "yellow",
    "paused": "yellow",
}
_STOPPED = ("interrupted", "paused", "failed")
_SPARED = ("adapter", "method", "started", "held out")  # what a narrow screen leaves out, in turn
_MEASURE = "stead evaluate --model {out} --data FILE --metrics exact_match"
_NEXT = {  # what these learn is no answer that could be right
    "pretrain": "stead evaluate --model {out} --data FILE --metrics perplexity",
    "contrastive": "stead serve --model {out}   (vectors: /v1/embeddings)",
    "reward": "stead plan --model MODEL --data FILE --method grpo -s {rewards}",
}
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDE = 160  # a pipe has no edge to wrap at


def show_result(result: Mapping[str, Any]) -> None:  # Any: JSON values
    """Print what a training run came to, and what may follow."""
    final = result["final_loss"]
    loss = "no step had a loss" if final is None else f"final loss {wording.loss(final)}"
    if result["eval_loss"] is not None:
        loss += f", held-out loss {wording.loss(result['eval_loss'])}"
    if "final_reward" in result:  # a loss says little of a method that learns from rewards
        loss += f", final reward {result['final_reward']:.4g}"
    if result.get("eval_reward") is not None:
        loss += f", held-out reward {result['eval_reward']:.4g}"
    if "best_step" in result:
        loss += f" (best, after step {result['best_step']})"
    begun = result.get("resumed_after")
    part = "" if begun is None else f", those after step {begun}"
    console.out(
        f"{result['steps']} steps, {result['tokens']} tokens{part} in {result['seconds']:.1f} s "
        f"({result['tokens_per_s']:.0f} tokens/s)"
    )
    console.out(loss)
    if "stopped" in result:
        console.out(str(result["stopped"]))
    console.out(f"weights: {result['final']}")
    if "report" in result:
        console.out(f"report:  {result['report']}")
    console.out(f"next:    {_next(str(result['out']), result.get('method'))}")


def _next(out: str, method: str | None) -> str:
    rewards = shlex.quote(f"method.rewards=[{{model: {out}}}]")
    return _NEXT.get(str(method), _MEASURE).format(out=shlex.quote(out), rewards=rewards)


def show_list(runs: "Sequence[RunSummary]") -> None:
    """Print one line per run; a narrow screen shows fewer columns, never broken ones."""
    if not runs:
        console.out("no runs yet")
        return
    columns: dict[str, list[str]] = {
        "id": [r.id for r in runs],
        "name": ["" if r.name is None else r.name for r in runs],
        "state": [r.state for r in runs],
        "step": [_steps(r) for r in runs],
        "loss": [_loss(r.loss) for r in runs],
        "held out": [_loss(r.eval_loss) for r in runs],
        "method": [r.method for r in runs],
        "adapter": [r.adapter for r in runs],
        "started": [_day(r.started) for r in runs],
    }
    screen = _screen()
    widths = {
        head: 2 + max(len(text) for text in [head, *cells]) for head, cells in columns.items()
    }
    for head in _SPARED:
        if sum(widths.values()) - 2 > screen.width:
            del columns[head], widths[head]
    heads = list(columns)
    grid = _grid(heads, [heads.index(n) for n in ("step", "loss", "held out") if n in columns])
    for cells in zip(*columns.values(), strict=True):
        grid.add_row(*(_state(c) if h == "state" else c for h, c in zip(heads, cells, strict=True)))
    screen.print(grid, markup=False)


def show_summary(run: "RunSummary") -> None:
    """Print one run in one line, and how to go on with it if it stopped."""
    parts = [run.id, run.state, f"step {_steps(run)}"]
    parts += [f"loss {wording.loss(run.loss)}"] if run.loss is not None else []
    console.out("  ".join(parts) + (f"  ({run.reason})" if run.reason else ""))
    if run.state in _STOPPED:
        console.out(f"next:  stead runs resume {run.path}")


def show_details(found: Mapping[str, Any]) -> None:  # Any: JSON values
    """Print everything about one run."""
    rows = [
        ("run", found["id"]), ("name", found["name"]), ("folder", found["path"]), ("state", found["state"]),
        ("reason", found["reason"]), ("steps", f"{found['step']} of {found['total']}"), ("model", found["model"]),
        ("method", found["method"]), ("adapter", found["adapter"]),
    ]  # fmt: skip
    rows += [
        (k, _number(v))
        for k, v in found["result"].items()
        if isinstance(v, int | float) and k != "steps"
    ]
    rows += [(_FORECAST[k], _against(k, v)) for k, v in found["forecast"].items()]
    for kind in ("checkpoints", "artifacts"):
        rows += [(kind, f"{name} ({_size(size)})") for name, size in found[kind].items()]
    rows += [("report", path) for path in found["reports"]]
    if found["state"] in _STOPPED:
        rows.append(("next", f"stead runs resume {found['path']}"))
    shown = [(k, str(v)) for k, v in rows if v not in (None, "")]
    width = max(len(k) for k, _ in shown)
    for key, text in shown:
        console.out(f"{key:<{width}}  {text}")
    console.out("\nsettings")
    width = max(len(k) for k in found["config"])
    for key, value in found["config"].items():
        console.out(f"{key:<{width}}  {_plain(value)}")


def show_comparison(found: "Comparison") -> None:
    """Print runs side by side: settings that differ, results, losses."""
    head = ("", *(r.name or r.id for r in found.runs))
    grid = _grid(head, numbers=range(1, len(head)))
    grid.add_row("state", *(_state(r.state) for r in found.runs))
    for key, values in found.settings.items():
        grid.add_row(key, *map(_plain, values))
    grid.add_section()
    for key, values in found.results.items():
        if any(v is not None for v in values):
            grid.add_row(key, *map(_number, values))
    screen = _screen()
    names = max(len(k) for k in (*found.settings, *found.results))
    width = (screen.width - names) // len(found.runs) - 2  # a curve is never broken
    curves = [[y for _, y in line] for line in found.losses]
    grid.add_row("loss", *(spark(c, max(8, min(24, width))) for c in curves))
    screen.print(grid, markup=False)


def spark(values: Sequence[float], width: int = 24) -> str:
    """Return a curve as a line of blocks, from its lowest to its highest value."""
    shown = [v for v in values if math.isfinite(v)]
    if not shown:
        return ""
    step = max(1, -(-len(shown) // width))
    means = [
        sum(shown[i : i + step]) / len(shown[i : i + step]) for i in range(0, len(shown), step)
    ]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((v - low) * scale)] for v in means)


def _grid(head: Sequence[str], numbers: Sequence[int]) -> "Table":
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for j, name in enumerate(head):
        justify: Literal["right", "left"] = "right" if j in numbers else "left"
        grid.add_column(name, justify=justify, overflow="fold", no_wrap=j == 0)
    return grid


def _screen() -> "Console":
    screen = console.stdout()
    if not screen.is_terminal:
        screen.width = _WIDE
    return screen


def _day(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _loss(value: float | None) -> str:
    return "" if value is None else wording.loss(value)


def _state(state: str) -> Any:  # Any: Rich's text
    from rich.text import Text

    return Text(state, style=_STYLES[state])


def _steps(run: "RunSummary") -> str:
    return f"{run.step}/{run.total}" if run.total is not None else str(run.step)


def _number(value: Any) -> str:  # Any: a JSON value
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return "" if value is None else str(value)


def _plain(value: Any) -> str:  # Any: a JSON value
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


_FORECAST = {"memory_bytes": "memory", "seconds": "whole time"}


def _against(name: str, pair: Mapping[str, Any]) -> str:
    show = _size if name == "memory_bytes" else lambda s: f"{s:.1f} s"
    low, expected, high = pair["forecast"]
    said = f"forecast {show(expected)} ({show(low)} to {show(high)})"
    return said if pair["actual"] is None else f"{said}, was {show(pair['actual'])}"


def _size(count: float) -> str:
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"


def index(folder: "Path") -> None:
    """Let the store, where there is one, know a run that has ended; its files are there in any case."""
    from stead.app.indexing import index_if_kept
    from stead.core.errors import ResourceError
    from stead.core.paths import Home

    try:
        index_if_kept(Home.find(), folder)
    except ResourceError as error:
        console.note(f"note: the run is not in the store yet: {error.message}")
