"""Add, make, list, show, verify, find and remove models."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stead.cli import console
from stead.cli.console import Json, Quiet
from stead.cli.grouped import grouped

if TYPE_CHECKING:
    from stead.app.models import Models
    from stead.hub.info import ModelInfo

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Offline = Annotated[bool, typer.Option("--offline", help="Use only what is on this machine.")]
Name = Annotated[str | None, typer.Option("--name", help="The name to call the model by.")]
Files = Annotated[
    list[str] | None,
    typer.Option("--file", help="Also fetch files of this pattern, e.g. '*Q4_K_M.gguf'."),
]


def _models(*, offline: bool = False, patterns: list[str] | None = None) -> "Models":
    from stead.app.models import Models
    from stead.core.paths import Home

    given = tuple(patterns) if patterns is not None else ()
    return Models(Home.find(), offline=offline, patterns=given)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a new model is: a preset, and what differs from it."""

    preset: Annotated[str, typer.Option(help="nano, tiny, mini, small or base.")] = "tiny"
    vocab: Annotated[int | None, typer.Option(help="Tokens in the vocabulary.")] = None
    hidden: Annotated[int | None, typer.Option(help="Width of the model.")] = None
    layers: Annotated[int | None, typer.Option(help="Number of layers.")] = None
    heads: Annotated[int | None, typer.Option(help="Attention heads.")] = None
    kv_heads: Annotated[int | None, typer.Option(help="Key and value heads.")] = None
    intermediate: Annotated[int | None, typer.Option(help="Width of the MLP.")] = None
    context: Annotated[int | None, typer.Option(help="Longest sequence in tokens.")] = None
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 42
    dtype: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32"


@app.command()
@grouped
def new(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    shape: Shape,
    more_text: Annotated[
        list[Path] | None, typer.Argument(help="Text files, as with --text.", show_default=False)
    ] = None,
    text: Annotated[
        list[Path] | None, typer.Option("--text", help="A text file to learn the tokenizer from.")
    ] = None,
    pretrain_tokens: Annotated[int, typer.Option(help="Tokens to pretrain on.", min=0)] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a small model with its own tokenizer, and pretrain it if asked."""
    from stead.app import models
    from stead.core.errors import UsageError

    paths = [str(p) for group in (text, more_text) if group is not None for p in group]
    if not paths:
        raise UsageError("no-text", "no text is given", hint=f"stead model new {out} --text FILE")
    spec = asdict(shape) | {"text": paths}
    spec["vocab_size"] = spec.pop("vocab")
    pretraining = models.Pretraining(pretrain_tokens, seed=shape.seed) if pretrain_tokens else None
    with console.progress(quiet=quiet) as emit:
        facts = models.new(out, spec, pretraining=pretraining, emit=emit)
    if as_json:
        console.out_json(facts)
    else:
        console.out(f"{facts['out']}: {facts['parameters']:,} parameters")


@app.command()
def add(
    what: Annotated[str, typer.Argument(help="A folder, a GGUF file, hf:org/name@rev or a URL.")],
    name: Name = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the files instead of linking.")
    ] = False,
    file: Files = None,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add a model by link, from a hub or from a URL, with the hash of every file."""
    with console.progress(quiet=quiet) as emit:
        entry, info = _models(offline=offline, patterns=file).add(
            what, name=name, copy=copy, emit=emit
        )
    if as_json:
        console.out_json(entry.to_dict() | {"model": info.to_dict()})
    else:
        console.out(f"added {entry.name}: {_line(info)}")
        _warn(info)


@app.command()
def pull(
    what: Annotated[list[str] | None, typer.Argument(help="Models of a hub.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every added model of a hub.")] = False,
    file: Files = None,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch models from a hub at their newest revision; what is here already is not fetched."""
    from stead.core.errors import UsageError

    models = _models(offline=offline, patterns=file)
    if not what and not every:
        raise UsageError("nothing-named", "no model is named", hint="stead model pull --all")
    with console.progress(quiet=quiet) as emit:
        given = what if what is not None else []
        got = [models.add(text, emit=emit)[0] for text in given]
        got += models.refresh(emit) if every else []
    if as_json:
        console.out_json({"models": [entry.to_dict() for entry in got]})
    for entry in got if not as_json else []:
        console.out(f"{entry.name}@{entry.revision[:12]}: {entry.size_bytes:,} bytes")


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the added models."""
    entries = _models().entries()
    if as_json:
        console.out_json({"models": [entry.to_dict() for entry in entries]})
        return
    rows = [
        [e.name, e.ref.source, e.revision[:12], f"{e.size_bytes / 1e6:,.1f} MB", str(e.path)]
        for e in entries
    ]
    console.table(["name", "source", "revision", "size", "path"], rows)


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="A name, model folder, adapter folder or GGUF file.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a model is, from its headers alone."""
    info = _models().show(what)
    named = {n: {"dtype": d, "shape": list(s)} for n, (d, s) in info.tensors.items()}
    if as_json:
        console.out_json(info.to_dict() | ({"tensors": named} if tensors else {}))
        return
    hidden = {"config", "dropped", "ignored"}
    console.table(["fact", "value"], [[k, v] for k, v in info.to_dict().items() if k not in hidden])
    if tensors:
        console.table(
            ["tensor", "dtype", "shape"], [[n, t["dtype"], t["shape"]] for n, t in named.items()]
        )
    _warn(info)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all when none.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hash every file again and compare with what was recorded; exit 1 when one differs."""
    with console.progress(quiet=quiet) as emit:
        report = _models().verify(names if names is not None else [], emit)
    for wrong in report["problems"]:
        hashes = f": {wrong['found']}, expected {wrong['expected']}" if "found" in wrong else ""
        console.note(f"error: {wrong['path']} of {wrong['model']} is {wrong['problem']}{hashes}")
    if as_json:
        console.out_json(report)
    else:
        console.out(f"{report['files']} files checked, {len(report['problems'])} wrong")
    if not report["ok"]:
        raise typer.Exit(1)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="An added model.")], as_json: Json = False
) -> None:
    """Remove a model; frees what was copied or fetched, leaves a linked folder alone."""
    done = _models().remove(name)
    if as_json:
        facts = {"name": done.name, "freed_bytes": done.freed_bytes, "kept": done.kept}
        console.out_json(facts)
        return
    kept = f"; {done.kept} stays" if done.kept else ""
    console.out(f"removed {done.name}, {done.freed_bytes:,} bytes freed{kept}")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="Words of the name.")],
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    as_json: Json = False,
) -> None:
    """Search a hub for models."""
    found = _models().search(query, limit=limit)
    if as_json:
        rows = [{"name": f.name, "downloads": f.downloads, "likes": f.likes} for f in found]
        console.out_json({"models": rows})
        return
    console.table(["name", "downloads", "likes"], [[f.name, f.downloads, f.likes] for f in found])


@app.command()
def discover(
    folders: Annotated[list[Path] | None, typer.Argument(help="More folders to look in.")] = None,
    as_json: Json = False,
) -> None:
    """Find models that are on this machine already, in folders and other tools' stores."""
    found = _models().discover(folders if folders is not None else [])
    if as_json:
        console.out_json({"models": [f.to_dict() for f in found]})
        return
    rows = [[f.name, f.kind, f.size_class, f.store, str(f.path)] for f in found]
    console.table(["name", "kind", "size", "store", "path"], rows)


def _line(info: "ModelInfo") -> str:
    return f"{info.kind}, {info.architecture}, {info.parameters:,} parameters, {info.dtype}"


def _warn(info: "ModelInfo") -> None:
    if info.dropped:
        console.note(f"not used from its configuration: {', '.join(info.dropped)}")
    if info.ignored:
        console.note(f"never opened: {', '.join(info.ignored)}")
