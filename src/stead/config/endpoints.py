"""A strategy's parts as one list: each endpoint with its vendor or engine, model, settings and place.

Knows nothing about how one is reached. Names of slots and of other strategies in the chain are
followed here, and only here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from stead.config.components import (
    CLOUD_SLOT,
    LOCAL_SLOT,
    CloudComponent,
    CloudConfig,
    CloudEntry,
    LocalConfig,
    LocalEntry,
)
from stead.config.strategy import Strategy
from stead.core.address import Place, place_of
from stead.core.errors import ConfigError

Find = Callable[[str], Strategy | None]
_COMPATIBLE = ("openai_compatible", "custom")


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One endpoint that may answer.

    `part` is "cloud_api", "model_app" or the number of the chain entry in the strategy `owner`;
    `kind` is a vendor's name (`is_cloud`) or a program's type; `model` "" when none was given.
    """

    name: str
    owner: str
    part: str
    kind: str
    is_cloud: bool
    model: str
    config: CloudConfig | LocalConfig
    in_chain: bool = True  # False: only rules and names lead to it

    @property
    def key(self) -> str:
        """The dotted key of the part within its strategy."""
        return f"components.{self.part}" if self.part in _SLOTS else f"fallback_chain.{self.part}"

    @property
    def identity(self) -> tuple[str, str, str | None]:
        """What two endpoints share when one is the other again."""
        return self.kind, self.model, self.config.base_url

    def place(self, vendor_place: Place = "public") -> Place:
        """Say where requests go. A vendor that is public stays so, whatever address it is given."""
        if self.is_cloud and vendor_place == "public":
            return "public"
        url = self.config.base_url
        return place_of(url) if url is not None else vendor_place if self.is_cloud else "local"


_SLOTS = (CLOUD_SLOT, LOCAL_SLOT)


def endpoints(strategy: Strategy, find: Find) -> tuple[EndpointSpec, ...]:
    """Return every endpoint in the order of answering; those only rules lead to come last.

    `find` looks other strategies up. An endpoint met twice counts once, at its first place.
    Raises: ConfigError("dangling-entry" | "cyclic-fallback" | "duplicate-name").
    """
    found: dict[tuple[str, str, str | None], EndpointSpec] = {}
    for spec in _walk(strategy, find, (strategy.name,)):
        before = found.get(spec.identity)
        if before is not None and before.in_chain:
            continue
        found.pop(spec.identity, None)  # its place is where the chain names it
        found[spec.identity] = spec
    listed = tuple(sorted(found.values(), key=lambda s: not s.in_chain))
    names = [s.name for s in listed]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ConfigError(
            "duplicate-name", f"two entries of {strategy.name!r} are called {twice!r}"
        )
    return listed


def _walk(strategy: Strategy, find: Find, path: tuple[str, ...]) -> Iterator[EndpointSpec]:
    slots = [s for s in _SLOTS if getattr(strategy.components, s) is not None]
    for i, slot in enumerate(slots):
        # With a chain the second slot has its turn only where the chain names it.
        yield _slot(strategy, slot, in_chain=i == 0 or not strategy.fallback_chain)
    for number, entry in enumerate(strategy.fallback_chain):
        if not isinstance(entry, str):
            yield _entry(strategy, entry, number)
        elif entry in slots:
            yield _slot(strategy, entry, in_chain=True)
        else:
            yield from _other(strategy, entry, number, find, path)


def _slot(strategy: Strategy, slot: str, *, in_chain: bool) -> EndpointSpec:
    component = getattr(strategy.components, slot)
    kind, model = _kind(component.type, component.config), model_of(component.config)
    is_cloud = slot == CLOUD_SLOT
    return EndpointSpec(
        slot, strategy.name, slot, kind, is_cloud, model, component.config, in_chain
    )


def _entry(strategy: Strategy, entry: CloudEntry | LocalEntry, number: int) -> EndpointSpec:
    type_, config = entry.type, entry.config
    if type_ in _SLOTS:
        component = getattr(strategy.components, type_)
        if component is None:
            raise ConfigError("dangling-entry", f"{strategy.name!r} has no {type_}", entry=number)
        type_ = component.type
        given = {name: getattr(config, name) for name in config.model_fields_set}
        config = component.config.model_copy(update=given)
    model = model_of(config)
    name = entry.name if entry.name is not None else model if model else entry.type
    is_cloud = isinstance(entry, CloudComponent)
    return EndpointSpec(
        name, strategy.name, str(number), _kind(type_, config), is_cloud, model, config
    )


def _other(
    strategy: Strategy, name: str, number: int, find: Find, path: tuple[str, ...]
) -> Iterator[EndpointSpec]:
    if name in path:
        way = " → ".join((*path, name))
        raise ConfigError("cyclic-fallback", f"the chain leads back to itself: {way}", entry=number)
    other = find(name)
    if other is None:
        raise ConfigError(
            "dangling-entry",
            f"{name!r} is neither a component of {strategy.name!r} nor a strategy",
            entry=number,
        )
    for spec in _walk(other, find, (*path, name)):
        if spec.in_chain:
            yield EndpointSpec(
                f"{name}/{spec.name}", spec.owner, spec.part, spec.kind, spec.is_cloud, spec.model,
                spec.config,
            )  # fmt: skip


def further(spec: EndpointSpec) -> Iterator[EndpointSpec]:
    """Yield an endpoint for each further model that the same settings name; asked for by name only."""
    for name in _listed(spec.config):
        if name != spec.model:
            yield replace(spec, name=name, model=name, in_chain=False)


def model_of(config: CloudConfig | LocalConfig) -> str:
    """Return the model that answers: the default one, else the first that is listed, else ""."""
    if config.default_model is not None:
        return config.default_model
    listed = _listed(config)
    return listed[0] if listed else ""


def _listed(config: CloudConfig | LocalConfig) -> list[str]:
    if isinstance(config, CloudConfig):
        return list(config.models)
    return [model.name for model in config.models]


def _kind(type_: str, config: CloudConfig | LocalConfig) -> str:
    """Return the vendor of a cloud API, or the type of a program."""
    if not isinstance(config, CloudConfig) or type_ not in _COMPATIBLE:
        return type_
    if config.provider is not None:
        return config.provider
    return "openai" if type_ == "openai_compatible" and config.base_url is None else "custom"
