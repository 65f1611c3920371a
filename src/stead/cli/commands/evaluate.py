"""Measure a model on rows with answers, alone or against another on the same rows.

Knows nothing about metrics; `scoring` does.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from stead.cli import console, evaluating
from stead.cli.grouped import grouped


@dataclass(frozen=True, slots=True)
class Compared:
    """What is measured, and against whom."""

    metrics: Annotated[
        str, typer.Option(help="Names, separated by commas; rouge is rouge1, rouge2, rougeL.")
    ] = "exact_match,f1,rougeL,perplexity"
    adapter: Annotated[str | None, typer.Option(help="Adapter folder to put on the model.")] = None
    against: Annotated[
        str | None,
        typer.Option(help="Model to compare with; base: the model without its adapter."),
    ] = None


@grouped
def command(
    model: Annotated[str, typer.Option(help="Model folder, run folder or name.")],
    data: evaluating.Data,
    compared: Compared,
    asking: evaluating.Asking,
    reading: evaluating.Reading,
    out: evaluating.Out = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Measure a model on rows with answers, alone or against another on the same rows."""
    from stead.app.evaluate import EvaluateRequest

    request = EvaluateRequest(
        model=model, data=data, metrics=evaluating.names(compared.metrics), adapter=compared.adapter,
        against=compared.against,
        **asdict(asking), **asdict(reading),
    )  # fmt: skip
    result = evaluating.run(request, out, quiet=quiet)
    if as_json:
        console.out_json(result)
    else:
        evaluating.show(result)
