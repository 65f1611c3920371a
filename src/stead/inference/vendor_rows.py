"""The facts of `vendors.yaml`: who hosts models, and what each does not take as we say it.

Knows nothing about requests or sockets. Try: `rows()["groq"].lacks`.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from stead.config import load
from stead.config.document import Document
from stead.config.kinds import Section
from stead.config.validate import validate
from stead.core import files
from stead.core.address import Place
from stead.core.errors import ConfigError
from stead.core.suggest import nearest

Lack = Literal["n", "echo", "exact_seed", "zero_logprobs", "count"]


class Change(Section):
    """What must be said differently to some models."""

    models: tuple[str, ...] = Field(default=("*",), description="patterns of model names, * and ?")
    rename: dict[str, str] = Field(default={}, description="our sampling field to the vendor's")
    drop: tuple[str, ...] = Field(default=(), description="fields left out, as a deviation")

    def applies(self, model: str) -> bool:
        """Say whether it is about this model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


class Header(Section):
    """A header that is sent when its option is given."""

    option: str = Field(description="name of the option")
    env: str | None = Field(default=None, description="variable that gives it too")


class Row(Section):
    """One vendor."""

    title: str = Field(description="name for people")
    url: str | None = Field(default=None, description="address; None: must be given")
    version: str | None = Field(
        default=None, description="part of the path before the routes; None: read from the address"
    )
    url_env: tuple[str, ...] = Field(default=(), description="variables that give the address")
    keys: tuple[str, ...] = Field(default=(), description="variables that hold the key, in order")
    place: Place = Field(
        description="where it runs; local: as its address says, when that is another one"
    )
    dialects: tuple[str, ...] = Field(description="protocols it speaks")
    lacks: tuple[Lack, ...] = Field(default=(), description="what is done here in its stead")
    headers: dict[str, Header] = Field(default={}, description="headers by options")
    changes: tuple[Change, ...] = Field(default=(), description="what is said differently")
    turns_drop: tuple[Literal["name", "reasoning"], ...] = Field(
        default=(), description="fields of messages left out, as a deviation"
    )
    omit: tuple[str, ...] = Field(default=(), description="body fields that mean nothing there")
    source: str = Field(description="page that these facts are from")

    @property
    def needs_key(self) -> bool:
        """Whether nothing can be asked without a key."""
        return self.place == "public"


@cache
def rows() -> Mapping[str, Row]:
    """Return every vendor by name."""
    text = files.package_text("stead.inference", "vendors.yaml")
    found = load.parse_yaml(text, "inference/vendors.yaml")
    return {
        name: validate(Row, Document(data, _below(found.places, name)))
        for name, data in found.data.items()
    }


def _below(places: Mapping[str, str], name: str) -> dict[str, str]:
    return {k.removeprefix(f"{name}."): v for k, v in places.items() if k.startswith(f"{name}.")}


def row(name: str) -> Row:
    """Return one vendor. Raises: ConfigError("unknown-vendor") with the nearest name."""
    found = rows().get(name)
    if found is None:
        near = nearest(name, rows())
        ask = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(
            "unknown-vendor", f"there is no vendor {name!r}{ask} (known: {', '.join(rows())})"
        )
    return found


def origin(url: str) -> tuple[str, str, int | None]:
    """Return what two addresses must share for a key to be sent to both. Raises: ConfigError("bad-url")."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("bad-url", f"{url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError("bad-url", f"{url!r} is no plain http or https address")
    usual = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, usual if port is None else port
