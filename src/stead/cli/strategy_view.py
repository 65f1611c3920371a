"""What `strategy` and `test` share: options, and how a strategy and its trial look on a terminal.

Knows nothing about either command.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stead.cli import console
from stead.core.errors import ResourceError

if TYPE_CHECKING:
    from stead.app.strategies import PartState
    from stead.app.strategy_library import Found
    from stead.app.trials import Answered, Outlook
    from stead.inference.compose import Composed

Query = Annotated[list[str] | None, typer.Option("--query", "-q", help="Text to try (repeatable).")]
Live = Annotated[bool, typer.Option("--live", help="Really ask, and measure.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer when really asking.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds each question may take.")]


def try_out(
    found: "Found",
    queries: list[str] | None,
    *,
    live: bool,
    max_tokens: int,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Show whom samples would ask, and with `live` what they answered.

    Raises: ResourceError("trial-failed") when nobody can answer, or a threshold of the file is missed.
    """
    from stead.app import strategies, trials
    from stead.core.paths import Home

    home = Home.find()
    build = strategies.accounted if live else strategies.composed
    made = build(found, home)
    tries = trials.samples(queries if queries is not None else (), max_tokens if live else None)
    looks = [trials.outlook(found.strategy, made, sample) for sample in tries]
    answers = asyncio.run(_ask(made, tries, timeout_s)) if live else []
    missed = trials.misses(found.read.file.validation_rules.performance_thresholds, answers)
    states = strategies.part_states(found, made)
    if as_json:
        console.out_json(
            {"strategy": found.strategy.name, "note": found.note, "components": list(map(asdict, states)),
             "outlook": list(map(asdict, looks)), "answers": list(map(asdict, answers)), "missed": missed}
        )  # fmt: skip
    else:
        show_trial(found, states, looks, answers)
    nobody = bool(looks) and all(look.error for look in looks)
    if missed or nobody or (answers and all(a.error for a in answers)):
        reason = "; ".join(missed) if missed else "nobody can answer"
        raise ResourceError("trial-failed", f"{found.strategy.name}: {reason}")


async def _ask(made: "Composed", tries: Sequence[object], timeout_s: float) -> "list[Answered]":
    from stead.app import trials

    try:
        return [
            await trials.answered(made, sample, time.monotonic() + timeout_s)
            for sample in tries
            if isinstance(sample, trials.Sample)
        ]
    finally:
        await made.backend.close()


def show_trial(
    found: "Found",
    states: "Sequence[PartState]",
    looks: "Sequence[Outlook]",
    answers: "Sequence[Answered]",
) -> None:
    """Print the parts, the outlook of each sample and the answers."""
    if found.note:
        console.note(found.note)
    console.out(f"strategy {found.strategy.name} ({found.path})")
    for state in states:
        model = f" {state.model}" if state.model else ""
        console.out(
            f"  {state.name}: {state.type}{model}: {state.reason if state.reason else 'ready'}"
        )
    for look in looks:
        console.out(f"\n{_short(look.sample)}")
        for rule in look.rules:
            console.out(f"  rule   {rule}")
        for number, step in enumerate(look.steps, 1):
            price = (
                "price unknown" if step.dollars is None else f"at most about ${step.dollars:.6f}"
            )
            console.out(f"  {number}.     {step.name} ({step.model}, {step.place}, {price})")
        for name, why in look.skipped.items():
            console.out(f"  not    {name}: {why}")
        if look.error:
            console.out(f"  error  {look.error}")
    for answer in answers:
        console.out(f"\n{_short(answer.sample)} → {_told(answer)}")


def _told(answer: "Answered") -> str:
    if answer.error:
        return f"error: {answer.error}"
    price = "" if answer.dollars is None else f", ${answer.dollars:.6f}"
    said = f"{answer.candidate}, {answer.seconds * 1000:.0f} ms, {answer.tokens} tokens{price}"
    return "\n  ".join((said, *answer.deviations, _short(answer.text)))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:99] + "…"


def show_checked(found: "Found", *, as_json: bool, quiet: bool) -> None:
    """Say that a file of strategies is valid, and what of it is switched off here."""
    read, path = found.read, str(found.path)
    if as_json:
        names = [s.name for s in read.file.strategies]
        console.out_json({"valid": True, "file": path, "strategies": names, "off": read.off})
        return
    for name, reasons in read.off.items():
        for part, why in reasons.items():
            where = f"fallback_chain.{part}" if part.isdigit() else part
            console.note(f"warning: {name}: {where} is off: {why}")
    if not quiet:
        console.out(f"{path} is valid: {len(read.file.strategies)} strategies")
