"""Measure a model on rows with answers, alone or against another on the same rows.

Knows nothing about metrics; `scoring` does.
"""

from typing import Annotated

import typer

from stead.cli import console, evaluating


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    model: Annotated[str, typer.Option(help="Model folder, run folder or name.")],
    data: Annotated[str, typer.Option(help="Rows with answers: file, folder or hf:org/name.")],
    metrics: Annotated[
        str, typer.Option(help="Names, separated by commas; rouge is rouge1, rouge2, rougeL.")
    ] = "exact_match,f1,rougeL,perplexity",
    adapter: Annotated[str | None, typer.Option(help="Adapter folder to put on the model.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Model to compare with; base: the model without its adapter."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first rows only.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest.")] = 0.0,
    seed: Annotated[int, typer.Option(help="For sampling and error bars.")] = 0,
    reader: Annotated[str, typer.Option(help="How to read the file.")] = "auto",
    format: Annotated[str, typer.Option(help="What its columns mean.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    out: Annotated[str | None, typer.Option(help="Folder for the run and its report.")] = None,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Measure a model on rows with answers, alone or against another on the same rows."""
    from stead.app.evaluate import EvaluateRequest

    request = EvaluateRequest(
        model=model, data=data, metrics=tuple(m.strip() for m in metrics.split(",") if m.strip()),
        adapter=adapter, against=against, limit=limit, max_new_tokens=max_new_tokens,
        temperature=temperature, seed=seed, reader=reader, format=format, dtype=dtype, device=device,
    )  # fmt: skip
    result = evaluating.run(request, out, quiet=quiet)
    if as_json:
        console.out_json(result)
    else:
        evaluating.show(result)
