"""Compare a fine-tuned model with its base on the same rows and write a report file.

Knows nothing that `evaluate` does not; it is the same work in the words of a benchmark.
"""

from enum import StrEnum
from typing import Annotated

import typer

from stead.cli import console, evaluating


class Form(StrEnum):
    """The forms a report comes in."""

    markdown = "markdown"
    json = "json"
    html = "html"


_FILES = {Form.markdown: "report.md", Form.json: "report.json", Form.html: "report.html"}


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    base: Annotated[str, typer.Option(help="Model before fine-tuning.")],
    finetuned: Annotated[str, typer.Option(help="Model or adapter after fine-tuning.")],
    data: Annotated[str, typer.Option(help="Rows with answers: file, folder or hf:org/name.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; may be given again, or with commas.")
    ] = None,
    report: Annotated[str | None, typer.Option(help="Also write the report here.")] = None,
    form: Annotated[Form, typer.Option("--format", help="Form of that file.")] = Form.markdown,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first rows only.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest.")] = 0.0,
    seed: Annotated[int, typer.Option(help="For sampling and error bars.")] = 0,
    out: Annotated[str | None, typer.Option(help="Folder for the run and its report.")] = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Compare a fine-tuned model with its base on the same rows and write a report file."""
    from stead.app.evaluate import EvaluateRequest

    named = ["rouge", "bleu"] if metric is None else metric
    request = EvaluateRequest(
        model=finetuned, against=base, data=data, limit=limit, max_new_tokens=max_new_tokens,
        metrics=tuple(m.strip() for part in named for m in part.split(",") if m.strip()),
        temperature=temperature, seed=seed,
    )  # fmt: skip
    result = evaluating.run(request, out, quiet=quiet)
    if report is not None:
        result["report"] = _copy(result["report"], report, form)
    if as_json:
        console.out_json(result)
    else:
        evaluating.show(result)


def _copy(page: str, report: str, form: Form) -> str:
    """Copy the report in the wanted form to where it was asked for; return that path."""
    from pathlib import Path

    from stead.core import files

    target = Path(report)
    files.write_bytes(target, (Path(page).parent / _FILES[form]).read_bytes())
    return str(target)
