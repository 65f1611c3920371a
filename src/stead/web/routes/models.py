"""`/api/models`, `/api/catalog`: the models of this platform, and what is known of others.

Knows nothing about model files.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from stead.app.model_shelf import ModelShelf, Shown
from stead.app.models import Models
from stead.app.orders import Orders
from stead.config.model_catalog import catalog
from stead.core.paths import safe_name
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.job_shape import Key, ordered
from stead.web.shapes import Body, Done, NewModel, Ordered, Page, Words, iso

# A name may hold slashes: the routes that end with it come after those that go on below it.
router = APIRouter(route_class=Guarded, tags=["models"])


class VersionInfo(BaseModel):
    """One registered version; it never changes."""

    version: int
    hash: str
    created: str
    source: str
    run: str | None = None


class Model(BaseModel):
    """One model of this platform; `reason`: why its facts cannot be read."""

    name: str
    path: str
    kind: str
    family: str
    parameters: int
    bytes: int
    dtype: str
    context: int
    reason: str
    source: str
    versions: list[VersionInfo]
    aliases: dict[str, int]
    adapters: list[str]
    used_by: list[str]


class AliasTarget(Body):
    """The version an alias shall point at."""

    version: int = Field(ge=1, lt=2**31)


class Removed(BaseModel):
    """What a removal freed."""

    freed_bytes: int


class Wrong(BaseModel):
    """One file that is not what it was; the hashes only where it can be read."""

    model: str
    file: str
    path: str
    problem: str
    expected: str | None = None
    found: str | None = None


class Verified(BaseModel):
    """What hashing the files again has found."""

    ok: bool
    files: int
    problems: list[Wrong]


class LineageStep(BaseModel):
    """One version a model goes back to; `base` and `data`: what its run was made from."""

    model: str
    version: int
    hash: str
    source: str
    run: str | None
    base: str | None
    data: str | None


class Card(BaseModel):
    """The text that came with a model (Markdown, written by strangers)."""

    text: str


class CatalogModel(BaseModel):
    """What is known of a model by name."""

    name: str
    provider: str
    category: str
    parameters_b: float | None = None
    size_gb: float | None = None
    memory_gb: float | None = None
    context: int | None = None
    capabilities: list[str] = []
    use_cases: list[str] = []
    alias: list[str] = []
    price: dict[str, float | None] | None = None
    source: str | None = None
    as_of: str | None = None


@router.get("/api/models")
def list_models(here: Here, q: Words = None) -> Page[Model]:
    """List the models that were added or made here."""
    found = [_shape(one) for one in ModelShelf(here.home, here.stores).all()]
    words = "" if q is None else q.lower()
    found = [one for one in found if words in one.name.lower() or words in one.family.lower()]
    return Page(items=found, total=len(found))


@router.post("/api/models", status_code=202)
def add_model(here: Here, who: Asking, body: NewModel, key: Key = None) -> Ordered:
    """Fetch and check a model, as a job."""
    ref = Orders(here, who).ref(body.ref)
    return ordered(
        Orders(here, who).submit(
            "download", {"ref": ref, "name": body.name}, title=body.ref, key=key
        )
    )


@router.post("/api/models/{name:path}/verify")
def verify_model(here: Here, name: str) -> Verified:
    """Hash the files again."""
    found = Models(here.home).verify([name])
    wrong = [Wrong.model_validate(one) for one in found["problems"]]
    return Verified(ok=found["ok"], files=found["files"], problems=wrong)


@router.put("/api/models/{name:path}/aliases/{alias}")
def set_alias(here: Here, name: str, alias: str, body: AliasTarget) -> Model:
    """Let an alias point at a version."""
    shelf = ModelShelf(here.home, here.stores)
    model = shelf.registered(name)
    here.stores.models.point(model.id, safe_name(alias), body.version)
    return _shape(shelf.get(name))


@router.delete("/api/models/{name:path}/aliases/{alias}")
def remove_alias(here: Here, name: str, alias: str) -> Done:
    """Remove an alias."""
    here.stores.models.unpoint(here.stores.models.named(name).id, alias)
    return Done()


@router.get("/api/models/{name:path}/card")
def get_card(here: Here, name: str) -> Card:
    """Return the text that came with a model."""
    return Card(text=ModelShelf(here.home, here.stores).card(name))


@router.get("/api/models/{name:path}/lineage")
def get_lineage(here: Here, name: str) -> Page[LineageStep]:
    """Return what a model was made from, step by step back."""
    steps = ModelShelf(here.home, here.stores).lineage(name)
    found = [LineageStep.model_validate(step) for step in steps]
    return Page(items=found, total=len(found))


@router.get("/api/models/{name:path}")
def get_model(here: Here, name: str) -> Model:
    """Return one model, with who uses it."""
    return _shape(ModelShelf(here.home, here.stores).get(name))


@router.delete("/api/models/{name:path}")
def remove_model(here: Here, name: str, force: Annotated[bool, Query()] = False) -> Removed:
    """Remove a model; 409 names who uses it."""
    return Removed(freed_bytes=ModelShelf(here.home, here.stores).remove(name, force=force))


@router.get("/api/catalog")
def list_catalog(q: Words = None) -> Page[CatalogModel]:
    """List what is known of models by name."""
    facts = catalog().search("" if q is None else q)
    names = set(CatalogModel.model_fields)
    found = [CatalogModel.model_validate(m.model_dump(mode="json", include=names)) for m in facts]
    return Page(items=found, total=len(found))


def _shape(one: Shown) -> Model:
    versions = [
        VersionInfo(version=v.version, hash=v.hash, created=iso(v.created_at), source=v.source, run=v.run)
        for v in one.versions
    ]  # fmt: skip
    return Model(
        name=one.name, path=one.path, kind=one.kind, family=one.family, parameters=one.parameters,
        bytes=one.bytes, dtype=one.dtype, context=one.context, reason=one.reason, source=one.source,
        versions=versions, aliases=one.aliases, adapters=list(one.adapters), used_by=list(one.used_by),
    )  # fmt: skip
