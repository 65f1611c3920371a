"""Compare a fine-tuned model with its base on the same rows and write a report file.

Knows nothing that `evaluate` does not; it is the same work in the words of a benchmark.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated

import typer

from stead.cli import console, evaluating
from stead.cli.grouped import grouped


class Form(StrEnum):
    """The forms a report comes in."""

    markdown = "markdown"
    json = "json"
    html = "html"


_FILES = {Form.markdown: "report.md", Form.json: "report.json", Form.html: "report.html"}


@dataclass(frozen=True, slots=True)
class Written:
    """Where the report goes, and in which form."""

    report: Annotated[str | None, typer.Option(help="Also write the report here.")] = None
    form: Annotated[Form, typer.Option("--format", help="Form of that file.")] = Form.markdown
    out: evaluating.Out = None


@grouped
def command(
    base: Annotated[str, typer.Option(help="Model before fine-tuning.")],
    finetuned: Annotated[str, typer.Option(help="Model or adapter after fine-tuning.")],
    data: evaluating.Data,
    asking: evaluating.Asking,
    written: Written,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; may be given again, or with commas.")
    ] = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Compare a fine-tuned model with its base on the same rows and write a report file."""
    from stead.app.evaluate import EvaluateRequest

    named = ["rouge", "bleu"] if metric is None else metric
    request = EvaluateRequest(
        model=finetuned, against=base, data=data, metrics=evaluating.names(",".join(named)),
        **asdict(asking),
    )  # fmt: skip
    result = evaluating.run(request, written.out, quiet=quiet)
    if written.report is not None:
        result["report"] = _copy(result["report"], written.report, written.form)
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
