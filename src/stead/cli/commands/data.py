"""Look at data sets, check them, prepare them, and see what is trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import console
from stead.cli.console import Json, Quiet

if TYPE_CHECKING:
    from stead.app.datasets import ShownRow
    from stead.data.section import Section

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Files = Annotated[list[str], typer.Argument(help="Files, folders, or hf:org/name[@rev][#config].")]
Reader = Annotated[str, typer.Option(help="How bytes become rows; auto: by content.")]
Format = Annotated[str, typer.Option("--format", help="How columns become turns; auto: detected.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="ours=theirs, e.g. text=title+body or prompt='Q: {question}'."),
]
Split = Annotated[str | None, typer.Option(help="The split of a Hugging Face data set.")]
Limit = Annotated[int | None, typer.Option(help="Use at most so many rows.", min=1)]
Streaming = Annotated[bool, typer.Option("--streaming", help="Fetch hub rows while reading.")]
Model = Annotated[
    str, typer.Option("--model", help="The model whose tokenizer and template count.")
]
Length = Annotated[int | None, typer.Option("--max-length", help="Longest sequence.", min=8)]
Kind = Annotated[
    str | None,
    typer.Option(help="messages, text, preference, labelled or prompts; else as the data is."),
]

_MARKS = ("⟦", "⟧")  # around trained text where there is no color


def _section(files: list[str], columns: list[str] | None, **more: Any) -> "Section":
    from stead.core.errors import ConfigError
    from stead.data.section import Section

    mapping = {}
    for text in columns if columns is not None else ():
        ours, equals, theirs = text.partition("=")
        if not equals or not ours or not theirs:
            raise ConfigError("bad-column", f"--column {text!r} is not of the form ours=theirs")
        mapping[ours] = theirs
    path = files[0] if len(files) == 1 else tuple(files)
    return Section(path=path, columns=mapping, **more)


def _folder(model: str) -> Path:
    from stead.hub.inspect import locate

    return locate(model)


def _kind(kind: str | None) -> Any:  # Any: the literal type Kind, checked here
    from stead.core.errors import ConfigError

    if kind not in (None, "messages", "text", "preference", "labelled", "prompts"):
        message = (
            f"there is no kind {kind!r} (known: messages, text, preference, labelled, prompts)"
        )
        raise ConfigError("unknown-kind", message)
    return kind


def _clean(value: object, limit: int = 200) -> str:
    """Make a cell harmless for a terminal: control characters become pictures, long text is cut."""
    text = "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c for c in str(value)
    )
    text = "".join("�" if 0x7F <= ord(c) < 0xA0 else c for c in text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


@app.command()
def inspect(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    files: Files,
    reader: Reader = "auto",
    format: Format = "auto",
    column: Columns = None,
    split: Split = None,
    limit: Limit = None,
    streaming: Streaming = False,
    rows: Annotated[int, typer.Option(help="Rows to show.", min=0)] = 2,
    as_json: Json = False,
) -> None:
    """Say how a data set is read, and why: reader, format, columns, first rows, statistics."""
    from stead.app import datasets

    section = _section(
        files, column, reader=reader, format=format, split=split, limit=limit, streaming=streaming
    )
    found = datasets.inspect(section, rows=rows)
    if as_json:
        console.out_json(found)
        return
    for one, fmt in zip(found["readers"], found["formats"], strict=False):
        console.out(f"reader   {one['name']}: {_clean(one['why'])}")
        console.out(
            f"format   {fmt['name']}: {_clean(fmt['why'])} ({fmt['confidence']:.0%} of the sample)"
        )
        for near in fmt["near"]:
            console.out(f"         nearly {_clean(near)}")
    console.out(f"columns  {_clean(', '.join(found['columns']))}")
    _print_statistics(found["statistics"])
    _print_report(found["report"])
    for row in found["first_rows"]:
        _print_row(row)


def _print_statistics(shape: dict[str, Any]) -> None:
    console.out(f"rows     {shape['rows']} usable")
    chars = shape["chars"]
    if chars:
        console.out(
            f"length   {chars['mean']:g} characters on average, 90 % up to {chars['p90']}, max {chars['max']}"
        )
    if shape["turns"]:
        turns = ", ".join(f"{n} rows of {k}" for k, n in list(shape["turns"].items())[:8])
        roles = ", ".join(f"{n} {role}" for role, n in shape["roles"].items())
        console.out(f"turns    {turns}; {roles}")


def _print_report(report: dict[str, Any]) -> None:
    dropped = report["dropped"]
    if dropped:
        counts = ", ".join(f"{n} {code}" for code, n in dropped.items())
        console.out(f"dropped  {sum(dropped.values())} of {report['read']} rows: {counts}")
    for one in report["examples"]:
        console.out(f"         {_clean(one['where'])}: {one['code']}: {_clean(one['reason'])}")


def _print_row(row: dict[str, Any]) -> None:
    console.out(f"\n{_clean(row['where'])} ({row['kind']})")
    if row.get("text") is not None:
        console.out(_clean(row["text"], 400))
    for name in ("messages", "chosen", "rejected"):
        for turn in row.get(name, ()):
            label = turn["role"] if name == "messages" else f"{name} {turn['role']}"
            body = turn.get("content")
            calls = "; ".join(f"{c['name']}({c['arguments']})" for c in turn.get("tool_calls", ()))
            console.out(f"  {label}: {_clean(body if body is not None else calls, 400)}")
    if row.get("label") is not None:
        console.out(f"  label: {row['label']}")


@app.command()
def validate(
    files: Files,
    reader: Reader = "auto",
    format: Format = "auto",
    column: Columns = None,
    split: Split = None,
    min_rows: Annotated[int, typer.Option(help="Usable rows there must be.", min=0)] = 10,
    allow: Annotated[int, typer.Option(help="Invalid rows that are accepted.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Check every row and name each invalid one; exit 2 when there are more than allowed."""
    from stead.app import datasets

    section = _section(files, column, reader=reader, format=format, split=split)
    found = datasets.validate(section, min_rows=min_rows, allowed=allow)
    if as_json:
        console.out_json(found)
    else:
        _print_report(found)
        verdict = "valid" if found["valid"] else f"not valid: {'; '.join(found['problems'])}"
        console.out(f"{found['kept']} of {found['read']} rows are usable: {verdict}")
    if not found["valid"]:
        raise typer.Exit(2)


@app.command()
def prepare(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    files: Files,
    model: Model,
    out: Annotated[Path, typer.Option(help="Where to put the prepared folder.")],
    kind: Kind = None,
    max_length: Length = None,
    reader: Reader = "auto",
    format: Format = "auto",
    column: Columns = None,
    split: Split = None,
    limit: Limit = None,
    eval_share: Annotated[float, typer.Option(help="Share held out.", min=0, max=0.99)] = 0.1,
    refuse: Annotated[
        bool, typer.Option("--refuse", help="Stop at the first invalid row.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 42,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the token sequences and masks that training reads."""
    from stead.app import datasets

    section = _section(
        files, column, reader=reader, format=format, split=split, limit=limit, seed=seed,
        eval_share=eval_share, on_error="refuse" if refuse else "skip",
    )  # fmt: skip
    with console.progress(quiet=quiet) as emit:
        made = datasets.prepare(
            section, _folder(model), out, kind=_kind(kind), max_length=max_length, emit=emit
        )
    if as_json:
        console.out_json({"path": str(made.path), "hash": made.hash, **made.meta})
        return
    for split_name, count in made.splits.items():
        tokens, labels = made.meta["tokens"][split_name], made.meta["label_tokens"][split_name]
        console.out(f"{split_name:<6} {count} rows, {tokens} tokens, {labels} trained")
    _print_report(made.meta["facts"])
    console.out(str(made.path))


@app.command()
def show(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    file: Annotated[str, typer.Argument(help="A file, a folder, or hf:org/name.")],
    model: Model,
    mask: Annotated[bool, typer.Option("--mask", help="Mark what is trained on.")] = False,
    rows: Annotated[int, typer.Option(help="Rows to show.", min=1)] = 2,
    kind: Kind = None,
    max_length: Length = None,
    reader: Reader = "auto",
    format: Format = "auto",
    column: Columns = None,
    last: Annotated[bool, typer.Option("--last", help="Train the last answer only.")] = False,
    as_json: Json = False,
) -> None:
    """Show rows as the model gets them; with --mask, color exactly what is trained on."""
    from stead.app import datasets

    section = _section(
        [file], column, reader=reader, format=format, train_on="last" if last else "all"
    )
    found = datasets.show(
        section, _folder(model), rows=rows, kind=_kind(kind), max_length=max_length
    )
    if as_json:
        console.out_json({"rows": [_row_json(row) for row in found]})
        return
    for row in found:
        _print_shown(row, mask=mask)


def _row_json(row: "ShownRow") -> dict[str, Any]:
    columns = [
        {
            "name": column.name,
            "tokens": column.tokens,
            "trained_tokens": column.trained,
            "pieces": [{"text": text, "trained": flag} for text, flag in column.pieces],
        }
        for column in row.columns
    ]
    return {"where": row.where, "columns": columns}


def _print_shown(row: "ShownRow", *, mask: bool) -> None:
    from rich.text import Text

    screen = console.stdout()
    for column in row.columns:
        title = (
            f"{_clean(row.where)} {column.name}: {column.tokens} tokens, {column.trained} trained"
        )
        screen.print(Text(title, style="bold"), soft_wrap=True)
        body = Text()
        for text, trained in column.pieces:
            shown = _clean(text, 1 << 30)
            if not (mask and trained):
                body.append(shown)
            elif screen.is_terminal and not screen.no_color:
                body.append(shown, style="green")
            else:
                body.append(_MARKS[0] + shown + _MARKS[1])
        screen.print(body, soft_wrap=True)


@app.command()
def formats(as_json: Json = False) -> None:
    """List the readers and formats, each with an example."""
    import json

    from stead.app import datasets

    found = datasets.known()
    if as_json:
        console.out_json(found)
        return
    for one in found["readers"]:
        console.out(f"{one['name']:<12} {one['about']}")
    console.out()
    for one in found["formats"]:
        console.out(f"{one['name']:<12} {one['kind']:<11} {one['about']}")
        console.out(f"{'':<12} {json.dumps(one['example'], ensure_ascii=False)}")
