"""Plugins: files and entry points that the user has enabled by name and hash, and nothing else.

Knows nothing about what a plugin does. A plugin is `<folder>/<kind>/<name>.py` in the data directory's
`plugins` folder or in `./plugins`, or an installed entry point of the group `stead.<kind>`. Being found
runs none of its code; a file that has changed since it was enabled is not run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stead.config.kinds import KINDS, registry
from stead.core import files
from stead.core.errors import ConfigError, NotFound
from stead.core.paths import Home, safe_name
from stead.core.suggest import nearest
from stead.inference.backend import Backend
from stead.inference.hooks import Hook, Hooked, check_options

State = Literal["enabled", "disabled", "changed", "missing"]
_LIST = "enabled.json"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin that was found or enabled. `origin` is a path, or an entry point's value."""

    kind: str
    name: str
    origin: str
    sha256: str
    state: State
    options: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values

    @property
    def key(self) -> str:
        """Kind and name, as the commands take them."""
        return f"{self.kind}/{self.name}"


class Plugins:
    """The plugins of a data directory and the folders beside it; a missing folder is no error."""

    def __init__(self, home: Home, folders: Sequence[Path] | None = None) -> None:
        self._home = home
        self._folders = [home.plugins, Path("plugins")] if folders is None else list(folders)

    def all(self) -> list[Plugin]:
        """List what is there and what is enabled, without running any of it."""
        enabled = self._enabled()
        found = {(kind, name): origin for kind, name, origin in self._found()}
        keys = sorted({f"{k}/{n}" for k, n in found} | set(enabled))
        return [self._plugin(key, found, enabled) for key in keys]

    def get(self, key: str) -> Plugin:
        """Return a plugin by `kind/name`, or by its name alone where that is clear.

        Raises: NotFound("no-such-plugin") with the nearest name.
        """
        known = self.all()
        found = [p for p in known if key in (p.key, p.name)]
        if len(found) != 1:
            names = [p.key for p in (found if found else known)]
            near = nearest(key, names)
            ask = f"; did you mean {near!r}?" if near else ""
            there = ", ".join(names) if names else "none"
            raise NotFound("no-such-plugin", f"there is no plugin {key!r}{ask} (there: {there})")
        return found[0]

    def enable(self, key: str, options: Mapping[str, Any] | None = None) -> Plugin:
        """Allow a plugin to run as it is now. Raises: NotFound; ConfigError for a taken name."""
        plugin = self.get(key)
        if plugin.state == "missing":
            raise NotFound("no-such-plugin", f"the plugin {plugin.key!r} is not there any more")
        kept = dict(plugin.options if options is None else options)
        entry = {"sha256": plugin.sha256, "origin": plugin.origin, "options": kept}
        self._write(self._enabled() | {plugin.key: entry})
        return self.get(plugin.key)

    def disable(self, key: str) -> Plugin:
        """Forbid a plugin. Raises: NotFound."""
        plugin = self.get(key)
        enabled = self._enabled()
        enabled.pop(plugin.key, None)
        self._write(enabled)
        return plugin

    def load(self) -> list[str]:
        """Make every enabled plugin known to its registry; return notes on those that are not.

        Raises: ConfigError("duplicate") for a name that is taken, with both origins.
        """
        notes = []
        for plugin in self.all():
            if plugin.state in ("changed", "missing"):
                mend = f"stead plugin enable {plugin.key}"
                notes.append(f"the plugin {plugin.key!r} is {plugin.state} and not used ({mend})")
            elif plugin.state == "enabled" and plugin.origin.endswith(".py"):
                registry(plugin.kind).register_file(plugin.name, Path(plugin.origin))
        return notes

    def hooks(self) -> list[Hook]:
        """Make the enabled hooks, in the order of their enabling."""
        usable = {p.key: p for p in self.all() if p.state == "enabled" and p.kind == "hook"}
        names = [key for key in self._enabled() if key in usable]
        return [
            registry("hook").create(usable[n].name, options=check_options(usable[n].options))
            for n in names
        ]

    def around(self, backend: Backend) -> Backend:
        """Return a Backend with the enabled hooks around it; itself when there are none."""
        hooks = self.hooks()
        return Hooked(backend, hooks) if hooks else backend

    def _plugin(
        self, key: str, found: dict[tuple[str, str], str], enabled: dict[str, dict[str, Any]]
    ) -> Plugin:
        kind, _, name = key.partition("/")
        entry = enabled.get(key)
        options = {} if entry is None else entry.get("options", {})
        if (kind, name) not in found:
            origin = "" if entry is None else str(entry.get("origin", ""))
            return Plugin(kind, name, origin, "", "missing", options)
        origin = found[kind, name]
        digest = _digest(kind, name, origin)
        state: State = "disabled"
        if entry is not None:
            state = "enabled" if entry.get("sha256") == digest else "changed"
        return Plugin(kind, name, origin, digest, state, options)

    def _found(self) -> list[tuple[str, str, str]]:
        """Return kind, name and origin of each plugin: built-in hooks, files, entry points."""
        rows: list[tuple[str, str, str]] = []
        for kind in KINDS:
            known = registry(kind)
            for name in known.names():
                origin = known.origin(name)
                shipped = origin.startswith(f"{known.package}.") and kind == "hook"
                if shipped or known.fingerprint(name) is not None:
                    rows.append((kind, name, origin))
            for folder in self._folders:
                for path in sorted((folder / kind).glob("*.py")):
                    if not path.name.startswith("_") and not path.is_symlink():
                        rows.append((kind, safe_name(path.stem), str(path.absolute())))
        return rows

    def _enabled(self) -> dict[str, dict[str, Any]]:
        path = self._home.plugins / _LIST
        if not path.is_file():
            return {}
        try:
            found = files.read_json(path)
            return {str(k): dict(v) for k, v in found.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise ConfigError("bad-plugins", f"{str(path)!r} is damaged: {error}") from error

    def _write(self, enabled: Mapping[str, Any]) -> None:
        files.write_json(self._home.plugins / _LIST, dict(enabled), 0o600)


def _digest(kind: str, name: str, origin: str) -> str:
    """Return the hash by which a plugin is enabled: of its file, or of its distribution's files."""
    if origin.endswith(".py"):
        return files.hash_file(Path(origin))
    found = registry(kind).fingerprint(name)
    return "shipped" if found is None else found
