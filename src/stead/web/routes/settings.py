"""`/api/settings`, `/api/plugins`: how the platform is set up, and what others' code may run in it.

Knows nothing about what settings do.
"""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from stead.app import setting_changes
from stead.app.plugins import Plugin, Plugins
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.shapes import Body, Page, iso

router = APIRouter(route_class=Guarded, tags=["settings"])


class Setting(BaseModel):
    """One setting with where its value is from; a secret's value is masked, `fixed` says why none can be given here."""

    key: str
    value: Any = None  # JSON value
    default: Any = None  # JSON value
    origin: str
    description: str
    secret: bool
    choices: list[str] = []
    fixed: str


class SettingValue(Body):
    """The new value; null: the default."""

    value: str | int | float | bool | list[str] | None


class Before(BaseModel):
    """A value that a setting had."""

    value: Any = None  # JSON value


class SettingChange(BaseModel):
    """One change; null: it was, or is, not set."""

    version: int
    at: str
    actor: str
    key: str
    before: Before | None
    after: Before | None


class PluginInfo(BaseModel):
    """One plugin that was found or enabled; `changed`: its file is not what was enabled."""

    kind: str
    name: str
    origin: str
    sha256: str
    state: Literal["enabled", "disabled", "changed", "missing"]


@router.get("/api/settings")
def list_settings(here: Here) -> Page[Setting]:
    """List every setting."""
    found = [Setting(**asdict(one)) for one in setting_changes.shown(here.home)]
    return Page(items=found, total=len(found))


@router.put("/api/settings/{key}")
def change_setting(here: Here, who: Asking, key: str, body: SettingValue) -> Setting:
    """Set one setting; it counts from the next start on where the setting is read at the start."""
    changed = setting_changes.change(here.home, here.stores.settings, who.name, key, body.value)
    return Setting(**asdict(changed))


@router.get("/api/settings/history")
def list_changes(here: Here) -> Page[SettingChange]:
    """List the changes, newest first."""
    found = [
        SettingChange(version=c.version, at=iso(c.at), actor=c.actor, key=c.key, before=_before(c.before), after=_before(c.after))
        for c in here.stores.settings.list()
    ]  # fmt: skip
    return Page(items=found, total=len(found))


@router.post("/api/settings/history/{version}/restore")
def restore_setting(
    here: Here, who: Asking, version: Annotated[int, Path(ge=1, lt=2**63)]
) -> Setting:
    """Take a change back, as a further change."""
    changed = setting_changes.restore(here.home, here.stores.settings, who.name, version)
    return Setting(**asdict(changed))


@router.get("/api/plugins")
def list_plugins(here: Here) -> Page[PluginInfo]:
    """List plugins without running any."""
    found = [_plugin(one) for one in Plugins(here.home).all()]
    return Page(items=found, total=len(found))


@router.post("/api/plugins/{kind}/{name}/enable")
def enable_plugin(here: Here, kind: str, name: str) -> PluginInfo:
    """Allow a plugin to run, as it is now, from the next start on."""
    return _plugin(Plugins(here.home).enable(f"{kind}/{name}"))


@router.post("/api/plugins/{kind}/{name}/disable")
def disable_plugin(here: Here, kind: str, name: str) -> PluginInfo:
    """Forbid a plugin."""
    return _plugin(Plugins(here.home).disable(f"{kind}/{name}"))


def _plugin(one: Plugin) -> PluginInfo:
    return PluginInfo(
        kind=one.kind, name=one.name, origin=one.origin, sha256=one.sha256, state=one.state
    )


def _before(value: dict[str, Any] | None) -> Before | None:  # Any: JSON value
    return None if value is None else Before.model_validate(value)
