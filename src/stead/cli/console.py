"""What a person sees on a terminal: results on stdout, everything else on stderr.

Knows nothing about what is shown. Color only on a terminal and without NO_COLOR; progress bars only
on a terminal; with `--json` the last line of stdout is one JSON object.
"""

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.core.errors import SteadError
from stead.core.events import AnyEvent, Emit, Finished, Note, Progress, Saved, Started

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]


def stderr() -> "Console":
    """Return the Rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def stdout() -> "Console":
    """Return the Rich console on stdout."""
    from rich.console import Console

    return Console(highlight=False)


def out(text: str = "") -> None:
    """Print a line of result on stdout."""
    sys.stdout.write(text + "\n")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:  # Any: shown by str()
    """Print a table of results on stdout."""
    from rich.table import Table

    made = Table(*head, box=None, pad_edge=False)
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    stdout().print(made, markup=False)


def note(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(text + "\n")


def out_json(value: Any) -> None:  # Any: JSON values
    """Print `value` as one JSON line on stdout."""
    out(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))


def print_error(error: SteadError, *, as_json: bool = False) -> None:
    """Print an error and its hint on stderr, and with `as_json` also as a JSON line on stdout."""
    note(f"error: {error.message}")
    if error.hint:
        note(f"\nhint: {error.hint}")
    if as_json:
        out_json({"error": error.to_dict()})


def _values(values: dict[str, float]) -> str:
    return "  ".join(f"{k} {v:.4g}" if abs(v) < 1e5 else f"{k} {v:,.0f}" for k, v in values.items())


def _training(values: dict[str, float]) -> str:
    """Show what a person watches while a model learns; the others are in the logs."""
    shown = [f"loss {values['loss']:.4f}"] if "loss" in values else []
    shown += [f"reward {values['reward']:.3g}"] if "reward" in values else []
    shown += [f"held out {values['eval_loss']:.4f}"] if "eval_loss" in values else []
    shown += [f"lr {values['lr']:.2e}"] if "lr" in values else []
    shown += [f"grad {values['grad_norm']:.3g}"] if "grad_norm" in values else []
    shown += [f"{values['tokens_per_s']:,.0f} tok/s"] if "tokens_per_s" in values else []
    share = values.get("ceiling_share")
    if share is not None:  # a tiny model's share is no 0
        shown += [f"({share:.0%} of ceiling)" if share >= 0.1 else f"({share:.1%} of ceiling)"]
    shown += [f"{values['peak_rss_mib']:,.0f} MiB"] if "peak_rss_mib" in values else []
    return "  ".join(shown)


class _Plain:
    """Progress for pipes and logs: one line per event worth a line."""

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Started):
            note(
                f"{event.stage}: started"
                + (f" ({event.total} {event.unit})" if event.total else "")
            )
        elif isinstance(event, Note):
            note(f"{event.stage}: {event.level}: {event.message}")
        elif isinstance(event, Saved):
            note(f"{event.stage}: saved {event.what} {event.path}")
        elif isinstance(event, Finished):
            note(f"{event.stage}: done")


class _Bars:
    """Progress on a terminal: one bar per stage with speed, measurements and time left."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import (
            Progress as Bars,
        )
        from rich.text import Text

        screen = stderr()

        class Lines(Bars):
            """Bars, and under them what the last stage measures: beside them it would not fit."""

            def get_renderables(self) -> Iterator[Any]:  # Any: what Rich can render
                yield self.make_tasks_table(self.tasks)
                measured = self.tasks[-1].fields["values"] if self.tasks else ""
                for line in textwrap.wrap(measured, screen.width - 4):
                    yield Text("  " + line)

        self.bars = Lines(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=screen,
        )
        self._tasks: dict[str, Any] = {}  # Any: Rich's task ids
        self._held_out: dict[str, float] = {}  # shown until there is a newer one

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Started):
            self._tasks[event.stage] = self.bars.add_task(event.stage, total=event.total, values="")
        elif isinstance(event, Progress) and event.stage in self._tasks:
            text = self._shown(event)
            self.bars.update(self._tasks[event.stage], completed=event.done, values=text)
        elif isinstance(event, Note):
            self.bars.console.print(f"{event.stage}: {event.level}: {event.message}", markup=False)
        elif isinstance(event, Finished) and event.stage in self._tasks:
            task = self._tasks[event.stage]
            total = self.bars.tasks[task].total
            self.bars.update(task, completed=total if total else 1, total=total if total else 1)

    def _shown(self, event: Progress) -> str:
        if event.stage != "train":
            return _values(event.values)
        self._held_out |= {k: v for k, v in event.values.items() if k == "eval_loss"}
        return _training(self._held_out | event.values)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Emit]:
    """Yield a subscriber that shows events as bars (terminal), lines (pipe) or nothing (quiet)."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        shown = _Bars()
        with shown.bars:
            yield shown
    else:
        yield _Plain()
