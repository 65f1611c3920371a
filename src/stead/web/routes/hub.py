"""`/api/hub`: search and download from where models are published.

Knows nothing about any hub.
"""

import os
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from stead.app.models import Models
from stead.app.orders import Orders
from stead.config.settings import read_settings
from stead.core.errors import NotFound
from stead.hub.door import TOKENS
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.job_shape import Key, ordered
from stead.web.shapes import Body, NewModel, Ordered, Page

router = APIRouter(route_class=Guarded, tags=["models"])


class HubModel(BaseModel):
    """One model that was found; `bytes` None: the hub does not say."""

    ref: str
    name: str
    downloads: int
    likes: int
    bytes: int | None = None
    tags: list[str]
    updated: str


class NewUpload(Body):
    """What to publish, and where: `repository` is owner/name on the hub; without `version`, the newest.

    With `dry_run` all is done but sending: the job's result names the files and shows the card.
    """

    model: str = Field(min_length=1, max_length=500)
    version: int | None = Field(default=None, ge=1, lt=2**31)
    repository: str = Field(min_length=3, max_length=200)
    private: bool = True
    message: str | None = Field(default=None, max_length=500)
    merge: bool = False
    base_model: str | None = Field(default=None, max_length=200)
    license: str | None = Field(default=None, max_length=100)
    dry_run: bool = False


class HubToken(BaseModel):
    """Whether there is a token for the hub; the token itself is told to nobody."""

    present: bool
    user: str | None = None
    source: str | None = None


@router.get("/api/hub/search")
def search_hub(
    here: Here,
    q: Annotated[str, Query(min_length=1, max_length=200)],
    source: Annotated[str, Query(pattern=r"^[a-z_]{1,32}$")] = "huggingface",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[HubModel]:
    """Search a hub. It asks another host, which is why it answers slowly or not at all offline."""
    if read_settings(here.home).value.offline:
        raise NotFound("offline", "the hub is not asked while offline is set")
    prefix = "hf" if source == "huggingface" else source
    found = [
        HubModel(ref=f"{prefix}:{x.name}", name=x.name, downloads=x.downloads, likes=x.likes,
                 tags=list(x.tags), updated=x.updated)
        for x in Models(here.home).search(q, source=source, limit=limit)
    ]  # fmt: skip
    return Page(items=found, total=len(found))


@router.post("/api/hub/download", status_code=202)
def download(here: Here, who: Asking, body: NewModel, key: Key = None) -> Ordered:
    """Fetch a model, as a job."""
    orders = Orders(here, who)
    spec = {"ref": orders.ref(body.ref), "name": body.name}
    return ordered(orders.submit("download", spec, title=body.ref, key=key))


@router.post("/api/hub/upload", status_code=202)
def upload(here: Here, who: Asking, body: NewUpload, key: Key = None) -> Ordered:
    """Publish a model with this machine's own token, as a job."""
    orders = Orders(here, who)
    spec = body.model_dump(exclude={"version"})
    spec["model"] = orders.model(body.model, body.version)
    return ordered(orders.submit("upload", spec, title=body.repository, key=key))


@router.get("/api/hub/token")
def get_token() -> HubToken:
    """Say whether there is a token, and where it is from."""
    for name in TOKENS:
        if os.environ.get(name, "").strip():
            return HubToken(present=True, source=f"environment {name}")
    home = os.environ.get("HF_HOME", "")
    path = (Path(home) if home else Path.home() / ".cache" / "huggingface") / "token"
    return HubToken(present=path.is_file(), source=str(path) if path.is_file() else None)
