"""Publish a model on the Hugging Face hub, or on any hub that speaks its protocol."""

from typing import Annotated

import typer

from stead.cli import console

Model = Annotated[str, typer.Argument(help="Run, adapter, model folder, GGUF or an added name.")]
Repository = Annotated[str, typer.Argument(help="owner/name on the hub; made when not there.")]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="HF_TOKEN", help="A token that may write.", show_envvar=True),
]
Private = Annotated[bool, typer.Option("--private", help="Make a new repository private.")]
Message = Annotated[str | None, typer.Option("--message", "-m", help="The commit's message.")]
Merge = Annotated[
    bool, typer.Option("--merge-adapter", help="Lay the adapter over its base first.")
]
Base = Annotated[
    str | None, typer.Option("--base-model", help="The base's name on the hub, for the card.")
]
License = Annotated[str | None, typer.Option("--license", help="For the card, e.g. apache-2.0.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; send nothing.")]


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    model: Model,
    repository: Repository,
    token: Token = None,
    private: Private = False,
    message: Message = None,
    merge_adapter: Merge = False,
    base_model: Base = None,
    license: License = None,
    dry_run: DryRun = False,
    as_json: console.Json = False,
    quiet: console.Quiet = False,
) -> None:
    """Publish a model on the Hugging Face hub, or on any hub that speaks its protocol."""
    from stead.app.publishing import Publishing, Wanted
    from stead.config.settings import read_settings
    from stead.core.paths import Home

    home = Home.find()
    wanted = Wanted(
        model, repository, private=private, message=message, merge=merge_adapter,
        base_model=base_model, license=license,
    )  # fmt: skip
    with console.progress(quiet=quiet) as emit:
        made = Publishing(home, offline=read_settings(home).value.offline).upload(
            wanted, token=token, dry_run=dry_run, emit=emit
        )
    if as_json:
        console.out_json(made)
        return
    if dry_run:
        console.out(made["card"])
    verb = "would send" if dry_run else "sent"
    console.out(f"{verb:<11} {len(made['files'])} files, {made['bytes']:,} bytes")
    for name in made["files"]:
        console.out(f"            {name}")
    if not dry_run:
        console.out(f"{'commit':<11} {made['commit']}")
        console.out(f"{'published':<11} {made['url']}")
