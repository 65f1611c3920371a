"""`/api/schema`, `/api/kinds`: what forms are made of.

Knows nothing about any extension beyond its registry.
"""

from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from stead.config.kinds import KINDS, registry
from stead.config.schema import schema
from stead.core import lazy
from stead.core.errors import SteadError
from stead.web.guard import Guarded
from stead.web.shapes import Json

router = APIRouter(route_class=Guarded, tags=["machine"])


class Extension(BaseModel):
    """One extension; `reason` says why it cannot be used here, `hint` what would change that.

    `takes`: the kinds of rows a method learns from, its own first.
    """

    name: str
    summary: str
    available: bool
    reason: str | None = None
    hint: str | None = None
    json_schema: Json | None = None
    takes: list[str] = []


@router.get("/api/schema/{name}")
def get_schema(name: str) -> Json:
    """Return the JSON Schema of recipes ("run"), strategies ("strategy") or settings ("settings")."""
    return _schema(name)


@cache
def _schema(name: str) -> Json:
    return schema(name)


@router.get("/api/kinds")
def list_kinds() -> dict[str, list[Extension]]:
    """List every extension by kind, with the JSON Schema of its settings where it has any."""
    found = {}
    for kind in KINDS:
        if lazy.installed(KINDS[kind][0]):
            found[kind] = [_extension(kind, name) for name in registry(kind).names()]
    return found


def _extension(kind: str, name: str) -> Extension:
    try:
        made = registry(kind).get(name)
    except SteadError as error:
        return Extension(
            name=name, summary="", available=False, reason=error.message, hint=error.hint
        )
    doc = made.__doc__
    summary = "" if doc is None else doc.strip().partition("\n")[0]
    missing = [m for m in getattr(made, "requires", ()) if not lazy.installed(m)]
    asked = getattr(made, "is_available", None)
    own = asked() if kind == "engine" and asked is not None else None
    ok = not missing and (own is None or own.ok)
    reason = (
        f"needs {', '.join(missing)}" if missing else (None if ok or own is None else own.reason)
    )
    hint = (
        f"pip install {' '.join(missing)}" if missing else (None if ok or own is None else own.hint)
    )
    return Extension(
        name=name, summary=summary, available=ok, reason=reason, hint=hint, json_schema=_config(kind, made, name),
        takes=list(getattr(made, "kinds", ())) if kind == "method" else [],
    )  # fmt: skip


def _config(kind: str, made: type[Any], name: str) -> Json | None:  # Any: an extension's class
    if not any("config" in getattr(c, "__annotations__", {}) for c in made.__mro__):
        return None
    found = registry(kind).config_of(name)
    return found.model_json_schema() if hasattr(found, "model_json_schema") else None
