"""Look models up: abilities, context, price, memory, and who may stand in for whom.

Knows nothing about what is installed here; `stead models` does.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from stead.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stead.config.model_catalog import ModelFacts

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


def _show(found: "Iterable[ModelFacts]", *, as_json: bool) -> None:
    rows = list(found)
    if as_json:
        console.out_json({"models": [m.model_dump(mode="json") for m in rows]})
        return
    for model in rows:
        parts = [f"{model.context:,} tokens"] if model.context is not None else []
        if model.memory_gb is not None:
            parts.append(f"{model.memory_gb:g} GB of memory")
        if model.price is not None:
            parts.append(f"${model.price.input:g} in, ${model.price.output:g} out per million")
        parts.append(", ".join(model.use_cases))
        console.out(f"{model.provider}  {model.name}  ({'; '.join(parts)})")


@app.command("list")
def list_models(
    category: Annotated[str | None, typer.Option(help="Only of this category.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this vendor or program.")] = None,
    as_json: console.Json = False,
) -> None:
    """List the models of the catalog."""
    from stead.config.model_catalog import catalog

    models = catalog().models
    kept = (m for m in models if category in (None, m.category) and provider in (None, m.provider))
    _show(kept, as_json=as_json)


@app.command()
def search(
    words: Annotated[str, typer.Argument(help="Words of a name, a category or a use.")],
    as_json: console.Json = False,
) -> None:
    """Find models by name, category or use."""
    from stead.config.model_catalog import catalog

    _show(catalog().search(words), as_json=as_json)


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="Name of a model.")], as_json: console.Json = False
) -> None:
    """Show all that is known of one model, and where it was read."""
    from stead.config.load import dump_yaml
    from stead.config.model_catalog import catalog

    facts = catalog().get(model).model_dump(mode="json", exclude_none=True)
    if as_json:
        console.out_json(facts)
    else:
        console.out(dump_yaml(facts).rstrip())


@app.command()
def fallbacks(
    chain: Annotated[str | None, typer.Option(help="Only this chain.")] = None,
    as_json: console.Json = False,
) -> None:
    """Show who may stand in for whom."""
    from stead.config.model_catalog import catalog
    from stead.core.errors import NotFound

    chains = catalog().fallback_chains
    if chain is not None and chain not in chains:
        known = ", ".join(chains)
        raise NotFound("unknown-chain", f"there is no chain {chain!r} (known: {known})")
    kept = {n: c for n, c in chains.items() if chain in (None, n)}
    if as_json:
        console.out_json({n: c.model_dump(mode="json") for n, c in kept.items()})
        return
    for name, row in kept.items():
        console.out(f"{name}: {row.primary} → {', '.join(row.fallbacks)}")
