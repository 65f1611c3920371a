"""What a person sees on a terminal: results on stdout, everything else on stderr.

Knows nothing about what is shown. Color only on a terminal and without NO_COLOR; progress bars only
on a terminal; with `--json` the last line of stdout is one JSON object.
"""

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.core import wording
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
    """Print a line on stderr; on a terminal it is broken between words."""
    sys.stderr.write((_broken(text) if sys.stderr.isatty() else text) + "\n")


def _broken(text: str) -> str:
    width = shutil.get_terminal_size().columns
    lines = (
        textwrap.fill(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for line in text.split("\n")
    )
    return "\n".join(lines)


def out_json(value: Any) -> None:  # Any: JSON values
    """Print `value` as one JSON line on stdout."""
    out(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))


def print_error(error: SteadError, *, as_json: bool = False) -> None:
    """Print an error and its hint on stderr, and with `as_json` also as a JSON line on stdout."""
    note(f"error: {error.message}")
    if error.hint:  # one line, however long: it is there to be pasted
        sys.stderr.write(f"\nhint: {error.hint}\n")
    if as_json:
        out_json({"error": error.to_dict()})


def _values(values: dict[str, float]) -> list[str]:
    return [f"{k} {v:.4g}" if abs(v) < 1e5 else f"{k} {v:,.0f}" for k, v in values.items()]


def _training(values: dict[str, float]) -> list[str]:
    """Show what a person watches while a model learns; the others are in the logs."""
    shown = [f"loss {wording.loss(values['loss'])}"] if "loss" in values else []
    shown += [f"{name} {values[key]:.3g}" for key, name in _ALSO.items() if key in values]
    shown += [f"held out {wording.loss(values['eval_loss'])}"] if "eval_loss" in values else []
    shown += [f"lr {values['lr']:.2e}"] if "lr" in values else []
    shown += [f"grad {values['grad_norm']:.3g}"] if "grad_norm" in values else []
    shown += [f"{values['tokens_per_s']:,.0f} tok/s"] if "tokens_per_s" in values else []
    share = values.get("ceiling_share")
    shown += [] if share is None else [f"{wording.share(share)} of ceiling"]
    shown += [f"memory {values['peak_rss_mib']:,.0f} MiB"] if "peak_rss_mib" in values else []
    return shown


_ALSO = {
    "reward": "reward", "completion_length": "length",
    "rewards/margins": "margin", "rewards/accuracies": "accuracy",
}  # fmt: skip


class _Measured:
    """What the last progress of a stage says; a held-out loss stays until there is a newer one."""

    def __init__(self) -> None:
        self._held_out: dict[str, float] = {}

    def __call__(self, event: Progress) -> list[str]:
        if event.stage != "train":
            return _values(event.values)
        self._held_out |= {k: v for k, v in event.values.items() if k == "eval_loss"}
        return _training(self._held_out | event.values)


def _lines(items: Sequence[str], width: int) -> list[str]:
    """Lay items out in lines of at most `width` characters, none of them broken."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 2 + len(item) <= width:
            lines[-1] += "  " + item
        else:
            lines.append(item)
    return lines


def _begun(event: Started) -> str:
    if not event.total:
        return f"{event.stage}: started"
    unit = event.unit.removesuffix("s")
    many = {"batch": "batches"}.get(unit, f"{unit}s")
    return f"{event.stage}: started ({event.total} {unit if event.total == 1 else many})"


class _Plain:
    """Progress for pipes and logs: one line per event worth a line, and twice a minute how far it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._totals: dict[str, int | None] = {}
        self._told: tuple[str, float, int] | None = None  # stage, when, how much was done
        self._measured = _Measured()

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Started):
            self._totals[event.stage] = event.total
            self._told = (event.stage, self._clock(), 0)
            note(_begun(event))
        elif isinstance(event, Progress) and self._told is not None:
            self._progress(event, *self._told)
        elif isinstance(event, Note):
            note(f"{event.stage}: {event.level}: {event.message}")
        elif isinstance(event, Saved):
            note(f"{event.stage}: saved {event.what} {event.path}")
        elif isinstance(event, Finished):
            note(f"{event.stage}: done")

    def _progress(self, event: Progress, stage: str, when: float, done: int) -> None:
        measured, now = self._measured(event), self._clock()
        if stage != event.stage or now - when < _TOLD_EVERY_S:
            return
        self._told = (stage, now, event.done)
        total = self._totals[stage]
        if total is None:
            shown = [f"{stage}: {event.done}"]
        else:
            left_s = (now - when) / max(1, event.done - done) * (total - event.done)
            shown = [f"{stage}: {event.done}/{total}", f"{_clock_time(left_s)} left"]
        note("  ".join(shown + measured))


_TOLD_EVERY_S = 30.0


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


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
                if self.tasks:
                    yield self.make_tasks_table(self.tasks)
                    for line in _lines(self.tasks[-1].fields["values"], screen.width - 4):
                        yield Text("  " + line)
                elif self.is_open:
                    yield Text("starting …", style="dim")

            is_open = True

            def stop(self) -> None:
                """Leave nothing behind where no stage had a bar."""
                self.is_open = False
                super().stop()

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
        self._measured = _Measured()

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Started):
            self._tasks[event.stage] = self.bars.add_task(event.stage, total=event.total, values=[])
        elif isinstance(event, Progress) and event.stage in self._tasks:
            measured = self._measured(event)
            self.bars.update(self._tasks[event.stage], completed=event.done, values=measured)
        elif isinstance(event, Note):
            text = _broken(f"{event.stage}: {event.level}: {event.message}")
            self.bars.console.print(text, markup=False)
        elif isinstance(event, Finished) and event.stage in self._tasks:
            task = self._tasks[event.stage]
            total = self.bars.tasks[task].total
            self.bars.update(task, completed=total if total else 1, total=total if total else 1)


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
