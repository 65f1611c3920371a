"""The model catalog: what is known of models by name: abilities, context, price, memory, stand-ins.

Knows nothing about who serves them. The files of `config/catalog` are facts with a source and a date;
a model that is not in it is used all the same, only less is known of it.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stead.config import load
from stead.config.document import Document
from stead.config.kinds import Section
from stead.config.validate import validate
from stead.core.errors import NotFound
from stead.core.suggest import nearest

FOLDER = Path(__file__).parent / "catalog"
Dollars = Annotated[float, Field(ge=0, le=1e6)]
Gigabytes = Annotated[float, Field(gt=0)]
Category = Literal[
    "general_purpose", "code_generation", "multilingual", "medical", "reasoning", "lightweight",
    "quantization_variants", "cloud", "embedding",
]  # fmt: skip
Ability = Literal["chat", "completion", "embedding", "tools", "vision", "json_schema", "reasoning"]


class PriceFacts(Section):
    """US dollars per million tokens."""

    input: Dollars = Field(description="tokens of the prompt")
    cached: Dollars | None = Field(
        default=None, description="tokens of the prompt that the vendor had in its cache"
    )
    write: Dollars | None = Field(
        default=None, description="tokens of the prompt that are written to that cache"
    )
    long_write: Dollars | None = Field(
        default=None, description="tokens of the prompt that are written there for an hour"
    )
    output: Dollars = Field(description="tokens of the answer, reasoning included")


class ModelFacts(Section):
    """What is known of one model."""

    name: str = Field(min_length=1, description="as its provider calls it")
    provider: str = Field(description="vendor of a cloud model, or the program that has it")
    category: Category = Field(description="what it is mostly used for")
    quantization: str | None = Field(default=None, description="number type of the weights")
    parameters_b: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="weights in thousand millions, those not at work included"
    )
    size_gb: Gigabytes | None = Field(default=None, description="size of the download, 10^9 bytes")
    memory_gb: Gigabytes | None = Field(
        default=None, description="memory to run it with a few thousand tokens, 10^9 bytes"
    )
    context: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="longest prompt and answer together, in tokens"
    )
    max_output: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="longest answer in tokens"
    )
    capabilities: tuple[Ability, ...] = Field(
        default=(), description="what it can do; none: unknown"
    )
    speed: Literal["very_fast", "fast", "medium", "slow"] | None = Field(
        default=None, description="how fast it is beside others of its category"
    )
    use_cases: tuple[str, ...] = Field(default=(), description="what it is good for")
    alias: tuple[str, ...] = Field(default=(), description="further names")
    price: PriceFacts | None = Field(default=None, description="what the vendor charges")
    source: str | None = Field(default=None, description="where the facts were read")
    as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")] | None = Field(
        default=None, description="year and month of the reading; prices change"
    )


class ChainFacts(Section):
    """A model and what may stand in for it, best first."""

    primary: str = Field(description="the model that is wanted")
    fallbacks: tuple[str, ...] = Field(min_length=1, description="who stands in, in order")


class HardwareFacts(Section):
    """What a class of machines can run."""

    means: str = Field(description="what such a machine has")
    models: tuple[str, ...] = Field(min_length=1, description="models that run well on it")


class CatalogFile(Section):
    """One file of the catalog."""

    defaults: dict[str, str | None] = Field(
        default={}, description="provider, source and as_of of the models that do not say their own"
    )
    models: tuple[ModelFacts, ...] = Field(default=(), description="the models")
    fallback_chains: dict[str, ChainFacts] = Field(default={}, description="who stands in for whom")
    hardware: dict[str, HardwareFacts] = Field(default={}, description="what runs where")

    @model_validator(mode="after")
    def _every_price_has_a_source(self) -> "CatalogFile":
        bare = [m.name for m in self.models if m.price and not (m.source and m.as_of)]
        if bare:
            raise ValueError(f"the price of {bare[0]!r} has no source and date")
        return self


class Catalog(Section):
    """All files of the catalog as one."""

    models: tuple[ModelFacts, ...] = Field(description="the models")
    fallback_chains: dict[str, ChainFacts] = Field(default={}, description="who stands in for whom")
    hardware: dict[str, HardwareFacts] = Field(default={}, description="what runs where")

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> "Catalog":
        names = [name for m in self.models for name in (f"{m.provider}/{m.name}", *m.alias)]
        twice = sorted({n for n in names if names.count(n) > 1})
        known = {m.name for m in self.models}
        wanted = [n for c in self.fallback_chains.values() for n in (c.primary, *c.fallbacks)]
        wanted += [n for h in self.hardware.values() for n in h.models]
        lost = [n for n in wanted if n not in known]
        if twice or lost:
            raise ValueError(f"names that are there twice: {twice}; that lead nowhere: {lost}")
        return self

    def find(self, name: str, provider: str | None = None) -> ModelFacts | None:
        """Return what is known of a model, or None; with `provider` only of its model.

        A dated name ("gpt-4o-2024-08-06") has the facts of the name before the date.
        """
        for model in self.models:
            if provider in (None, model.provider) and name in (model.name, *model.alias):
                return model
        head, date = name[:-11], name[-10:]
        is_dated = len(date) == 10 and date.replace("-", "").isdigit() and name[-11:-10] == "-"
        return self.find(head, provider) if is_dated and head else None

    def get(self, name: str) -> ModelFacts:
        """Return what is known of a model. Raises: NotFound("unknown-model") with the nearest."""
        found = self.find(name)
        if found is None:
            near = nearest(name, [m.name for m in self.models])
            ask = f"; did you mean {near!r}?" if near is not None else ""
            raise NotFound("unknown-model", f"the catalog has no model {name!r}{ask}")
        return found

    def search(self, words: str) -> Iterator[ModelFacts]:
        """Yield the models whose name, category or use cases hold every word."""
        for model in self.models:
            text = " ".join((model.name, model.provider, model.category, *model.use_cases)).lower()
            if all(word in text for word in words.lower().split()):
                yield model


@cache
def catalog() -> Catalog:
    """Return the catalog that ships."""
    return read_catalog(FOLDER)


def read_catalog(folder: Path) -> Catalog:
    """Read every file of a folder as one catalog. Raises: ConfigError with file:line."""
    files = [_read(load.read(path)) for path in sorted(folder.glob("*.yaml"))]
    return Catalog(
        models=tuple(m for f in files for m in f.models),
        fallback_chains={k: v for f in files for k, v in f.fallback_chains.items()},
        hardware={k: v for f in files for k, v in f.hardware.items()},
    )


def _read(document: Document) -> CatalogFile:
    defaults, models = document.data.get("defaults"), document.data.get("models")
    data = dict(document.data)
    if isinstance(defaults, dict) and isinstance(models, list):
        data["models"] = [defaults | m if isinstance(m, dict) else m for m in models]
    return validate(CatalogFile, Document(data, document.places))
