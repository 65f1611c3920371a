"""Prove that a GGUF file is the model it was made from, or say by how much it differs."""

from typing import Annotated, Any

import typer

from stead.cli import console

Model = Annotated[str, typer.Argument(help="Run, adapter or model folder, or an added name.")]
File = Annotated[str, typer.Argument(metavar="GGUF", help="The exported file.")]
Data = Annotated[str | None, typer.Option("--data", help="Conversations to compare on.")]
Merged = Annotated[str | None, typer.Option("--merged", help="Also compare this merged folder.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many conversations.")]

_ROWS = (
    ("prompt bytes", "prompt_bytes_equal"),
    ("token ids", "token_ids_equal"),
    ("stop set", "stop_equal"),
    ("log-prob |max|", "logprob_max_abs"),
    ("log-prob |mean|", "logprob_mean_abs"),
    ("top-1 agreement", "top1_agreement"),
    ("KL mean", "kl_mean"),
)


def command(
    model: Model,
    gguf: File,
    data: Data = None,
    merged: Merged = None,
    limit: Limit = 24,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Prove that a GGUF file is the model it was made from, or say by how much it differs."""
    from stead.app import exports

    with console.progress(quiet=quiet) as emit:
        found = exports.parity(model, gguf, data=data, merged=merged, limit=limit, emit=emit)
    if as_json:
        console.out_json(found)
    else:
        _show(found)
    if found["verdict"] != "pass":
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:  # Any: JSON values
    for hop in found["hops"]:
        console.out(f"{hop['from']} → {hop['to']} ({hop['quant']})")
        for label, key in _ROWS:
            console.out(f"  {label:<16} {_cell(hop[key])}")
        extra = hop["stops"].get("extra")
        if extra:
            console.out(f"  {'also stops at':<16} {', '.join(map(str, extra))}")
    for reason in found["reasons"]:
        console.note(f"fail: {reason}")
    words = f"{found['n_conversations']} conversations, {found['n_tokens']} positions"
    console.out(f"{found['verdict']}: {words}")


def _cell(value: Any) -> str:  # Any: JSON values
    if isinstance(value, bool):
        return "equal" if value else "DIFFERENT"
    return f"{value:.3g}"
