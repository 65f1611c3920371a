"""Look at data sets, check them, prepare them, and see what is trained on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stead.cli import console, data_view
from stead.cli.console import Json, Quiet
from stead.cli.grouped import grouped

if TYPE_CHECKING:
    from stead.data.section import Section

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Files = Annotated[list[str], typer.Argument(help="Files, folders, or hf:org/name[@rev][#config].")]
Split = Annotated[str | None, typer.Option(help="The split of a Hugging Face data set.")]
Streaming = Annotated[bool, typer.Option("--streaming", help="Fetch hub rows while reading.")]
Model = Annotated[
    str, typer.Option("--model", help="The model whose tokenizer and template count.")
]
Length = Annotated[int | None, typer.Option("--max-length", help="Longest sequence.", min=8)]
Kind = Annotated[
    str | None,
    typer.Option(help="messages, text, preference, labelled or prompts; else as the data is."),
]


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become rows, and columns turns."""

    reader: Annotated[str, typer.Option(help="How bytes become rows; auto: by content.")] = "auto"
    format: Annotated[
        str, typer.Option("--format", help="How columns become turns; auto: detected.")
    ] = "auto"
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", help="ours=theirs, e.g. text=title+body or prompt='Q: {question}'."
        ),
    ] = None

    def section(self, files: list[str], **more: Any) -> "Section":  # Any: fields of Section
        """Return the recipe's section that the options mean. Raises: ConfigError("bad-column")."""
        from stead.core.errors import ConfigError
        from stead.data.section import Section

        mapping = {}
        for text in self.column if self.column is not None else ():
            ours, equals, theirs = text.partition("=")
            if not equals or not ours or not theirs:
                raise ConfigError("bad-column", f"--column {text!r} is not of the form ours=theirs")
            mapping[ours] = theirs
        path = files[0] if len(files) == 1 else tuple(files)
        return Section(path=path, columns=mapping, reader=self.reader, format=self.format, **more)


@dataclass(frozen=True, slots=True)
class Part:
    """Which rows are taken."""

    split: Split = None
    limit: Annotated[int | None, typer.Option(help="Use at most so many rows.", min=1)] = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is written, and where."""

    out: Annotated[Path, typer.Option(help="Where to put the prepared folder.")]
    kind: Kind = None
    max_length: Length = None
    eval_share: Annotated[float, typer.Option(help="Share held out.", min=0, max=0.99)] = 0.1
    refuse: Annotated[bool, typer.Option("--refuse", help="Stop at the first invalid row.")] = False
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 42


@dataclass(frozen=True, slots=True)
class Shown:
    """Which rows are shown, and how."""

    mask: Annotated[bool, typer.Option("--mask", help="Mark what is trained on.")] = False
    rows: Annotated[int, typer.Option(help="Rows to show.", min=1)] = 2
    kind: Kind = None
    max_length: Length = None
    last: Annotated[bool, typer.Option("--last", help="Train the last answer only.")] = False


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


@app.command()
@grouped
def inspect(
    files: Files,
    reading: Reading,
    part: Part,
    streaming: Streaming = False,
    rows: Annotated[int, typer.Option(help="Rows to show.", min=0)] = 2,
    as_json: Json = False,
) -> None:
    """Say how a data set is read, and why: reader, format, columns, first rows, statistics."""
    from stead.app import datasets

    section = reading.section(files, **asdict(part), streaming=streaming)
    found = datasets.inspect(section, rows=rows)
    if as_json:
        console.out_json(found)
        return
    for told in found["folders"]:
        console.out(f"files    {data_view.clean(told)}")
    for one, fmt in zip(found["readers"], found["formats"], strict=False):
        console.out(f"reader   {one['name']}: {data_view.clean(one['why'])}")
        console.out(
            f"format   {fmt['name']}: {data_view.clean(fmt['why'])} ({fmt['confidence']:.0%} of the sample)"
        )
        for near in fmt["near"]:
            console.out(f"         nearly {data_view.clean(near)}")
    console.out(f"columns  {data_view.clean(', '.join(found['columns']))}")
    data_view.print_statistics(found["statistics"])
    data_view.print_report(found["report"])
    for row in found["first_rows"]:
        data_view.print_row(row)


@app.command()
@grouped
def validate(
    files: Files,
    reading: Reading,
    split: Split = None,
    min_rows: Annotated[int, typer.Option(help="Usable rows there must be.", min=0)] = 10,
    allow: Annotated[int, typer.Option(help="Invalid rows that are accepted.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Check every row and name each invalid one; exit 2 when there are more than allowed."""
    from stead.app import datasets

    section = reading.section(files, split=split)
    found = datasets.validate(section, min_rows=min_rows, allowed=allow)
    if as_json:
        console.out_json(found)
    else:
        data_view.print_report(found)
        verdict = "valid" if found["valid"] else f"not valid: {'; '.join(found['problems'])}"
        console.out(f"{found['kept']} of {found['read']} rows are usable: {verdict}")
    if not found["valid"]:
        raise typer.Exit(2)


@app.command()
@grouped
def prepare(
    files: Files,
    model: Model,
    prepared: Prepared,
    reading: Reading,
    part: Part,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the token sequences and masks that training reads."""
    from stead.app import datasets

    section = reading.section(
        files, **asdict(part), seed=prepared.seed, eval_share=prepared.eval_share,
        on_error="refuse" if prepared.refuse else "skip",
    )  # fmt: skip
    kind = _kind(prepared.kind)
    with console.progress(quiet=quiet) as emit:
        made = datasets.prepare(
            section, _folder(model), prepared.out,
            kind=kind, max_length=prepared.max_length, emit=emit,
        )  # fmt: skip
    if as_json:
        console.out_json({"path": str(made.path), "hash": made.hash, **made.meta})
        return
    for split_name, count in made.splits.items():
        tokens, labels = made.meta["tokens"][split_name], made.meta["label_tokens"][split_name]
        console.out(f"{split_name:<6} {count} rows, {tokens} tokens, {labels} trained")
    data_view.print_report(made.meta["facts"])
    console.out(str(made.path))


@app.command()
@grouped
def show(
    file: Annotated[str, typer.Argument(help="A file, a folder, or hf:org/name.")],
    model: Model,
    shown: Shown,
    reading: Reading,
    as_json: Json = False,
) -> None:
    """Show rows as the model gets them; with --mask, color exactly what is trained on."""
    from stead.app import datasets

    section = reading.section([file], train_on="last" if shown.last else "all")
    kind = _kind(shown.kind)
    found = datasets.show(
        section, _folder(model), rows=shown.rows, kind=kind, max_length=shown.max_length
    )
    if as_json:
        console.out_json({"rows": [data_view.row_json(row) for row in found]})
        return
    for row in found:
        data_view.print_shown(row, mask=shown.mask)


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
