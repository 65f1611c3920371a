"""What a strategy file says about itself must hold: names lead somewhere, limits let the chain through.

Knows nothing about this machine: what is refused here would be refused everywhere.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from stead.config.components import LOCAL_TYPES, CloudConfig, LocalConfig
from stead.config.constraints import PLACES, allows
from stead.config.document import Document
from stead.config.endpoints import EndpointSpec, endpoints
from stead.config.kinds import registry
from stead.config.strategy import Strategy, StrategyFile
from stead.config.validate import Problem, refusal
from stead.core.address import Place
from stead.core.errors import ConfigError
from stead.core.suggest import nearest


@dataclass(frozen=True, slots=True)
class Known:
    """What there is besides the file: vendors with their places, strategies by name.

    `vendors` None: any name of a vendor is taken.
    """

    vendors: Mapping[str, Place] | None = None
    strategies: Mapping[str, Strategy] = field(default_factory=dict)


Check = Callable[["_One"], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class _One:
    """One strategy under examination."""

    strategy: Strategy
    prefix: str  # "strategies.3."
    document: Document
    file: StrategyFile
    known: Known
    specs: tuple[EndpointSpec, ...]

    def problem(self, code: str, key: str, message: str, suggestion: str | None = None) -> Problem:
        full = self.prefix + key
        return Problem(code, full, self.document.place(full), message, suggestion)


def refuse(file: StrategyFile, document: Document, known: Known) -> None:
    """Raise ConfigError with a line per problem, or return."""
    found = [*_names(file, document, known), *_each(file, document, known)]
    if found:
        raise refusal(found)


def _names(file: StrategyFile, document: Document, known: Known) -> Iterator[Problem]:
    names = [s.name for s in file.strategies]
    for i, name in enumerate(names):
        if name in names[:i]:
            key = f"strategies.{i}.name"
            yield Problem("duplicate-name", key, document.place(key), f"{name!r} is there twice")
    every = {*names, *known.strategies}
    for case, wanted in file.use_case_mapping.items():
        for i, name in enumerate(wanted):
            if name not in every:
                key = f"use_case_mapping.{case}.{i}"
                message = f"the use case {case!r} names {name!r}, which is no strategy"
                yield Problem(
                    "dangling-name", key, document.place(key), message, nearest(name, every)
                )


def _each(file: StrategyFile, document: Document, known: Known) -> Iterator[Problem]:
    own = {s.name: s for s in file.strategies}
    for i, strategy in enumerate(file.strategies):
        prefix = f"strategies.{i}."
        try:
            specs = endpoints(strategy, lambda name: own.get(name, known.strategies.get(name)))
        except ConfigError as error:
            number = error.details.get("entry")
            key = f"{prefix}fallback_chain" + (f".{number}" if number is not None else "")
            yield Problem(error.code, key, document.place(key), error.message)
            continue
        one = _One(strategy, prefix, document, file, known, specs)
        for check in CHECKS:
            yield from check(one)


def _template(one: _One) -> Iterator[Problem]:
    name = one.strategy.template
    if name is not None and name not in one.file.strategy_templates:
        near = nearest(name, one.file.strategy_templates)
        yield one.problem("dangling-name", "template", f"there is no template {name!r}", near)


def _targets(one: _One) -> Iterator[Problem]:
    names = {s.name for s in one.specs}
    for i, rule in enumerate(one.strategy.routing_rules):
        if rule.target not in names:
            message = f"the rule's target {rule.target!r} is no entry of {one.strategy.name!r}"
            key = f"routing_rules.{i}.target"
            yield one.problem("dangling-target", key, message, nearest(rule.target, names))


def _own(one: _One) -> Iterator[EndpointSpec]:
    """Yield the endpoints whose settings stand in this very strategy."""
    return (s for s in one.specs if s.owner == one.strategy.name)


def _kinds(one: _One) -> Iterator[Problem]:
    programs = (*registry("engine").names(), *LOCAL_TYPES, "custom")
    for spec in _own(one):
        vendors = one.known.vendors
        known = vendors if spec.is_cloud and vendors is not None else programs
        if spec.kind not in known and not (spec.is_cloud and vendors is None):
            what = "vendor" if spec.is_cloud else "program for models"
            message = f"there is no {what} {spec.kind!r} (known: {', '.join(sorted(known))})"
            yield one.problem(
                "unknown-name", f"{spec.key}.type", message, nearest(spec.kind, known)
            )


def _settings(one: _One) -> Iterator[Problem]:
    for spec in _own(one):
        url = spec.config.base_url
        if not spec.model and spec.kind != "mock_model":
            message = f"{spec.key} says no model; give config.default_model"
            yield one.problem("missing-key", spec.key, message)
        if url is None and spec.kind in ("custom", "tgi"):
            yield one.problem("missing-key", spec.key, f"{spec.key} needs config.base_url")
        if url is not None and not url.startswith(("http://", "https://")):
            message = f"{url!r} is no http or https address"
            yield one.problem("bad-value", f"{spec.key}.config.base_url", message)


def _models(one: _One) -> Iterator[Problem]:
    for spec in one.specs:
        if spec.model and not allows(one.strategy.constraints, spec.model):
            message = f"the constraints of {one.strategy.name!r} do not let {spec.model!r} answer"
            yield one.problem("blocked-entry", _key(one, spec), message)


def _places(one: _One) -> Iterator[Problem]:
    mode = one.strategy.constraints.privacy_mode
    for spec in one.specs:
        vendor: Place = (one.known.vendors or {}).get(spec.kind, "public")
        place = spec.place(vendor)
        if place not in PLACES[mode]:
            message = f"privacy_mode {mode} does not let requests go to {spec.name!r} ({place})"
            yield one.problem("blocked-entry", _key(one, spec), message)


def _hardware(one: _One) -> Iterator[Problem]:
    if not (one.strategy.constraints.requires_gpu and one.specs):
        return
    local = [s for s in one.specs if isinstance(s.config, LocalConfig)]
    for spec in local:
        if isinstance(spec.config, LocalConfig) and spec.config.gpu_layers == 0:
            message = f"requires_gpu is on, but {spec.name!r} puts no layer on one (gpu_layers=0)"
            yield one.problem("blocked-entry", _key(one, spec), message)
    if not local:
        message = "requires_gpu is on, but nothing of the chain runs here"
        yield one.problem("blocked-entry", "constraints.requires_gpu", message)


def _key(one: _One, spec: EndpointSpec) -> str:
    return spec.key if spec.owner == one.strategy.name else "fallback_chain"


def _rules_of_file(one: _One) -> Iterator[Problem]:
    rules, components = one.file.validation_rules, one.strategy.components
    filled = {s for s in type(components).model_fields if getattr(components, s) is not None}
    for slot in rules.required_components:
        if slot not in filled:
            yield one.problem("missing-key", "components", f"validation_rules ask for a {slot}")
    types = {getattr(components, s).type for s in filled} | {s.kind for s in one.specs}
    for group in rules.incompatible_combinations:
        if len(group) > 1 and set(group) <= filled | types:
            message = f"validation_rules forbid {' with '.join(group)}"
            yield one.problem("conflict", "components", message)


def _keys(one: _One) -> Iterator[Problem]:
    """A key written next to another vendor's name would go to that vendor."""
    for spec in _own(one):
        given = spec.config.provider if isinstance(spec.config, CloudConfig) else None
        if given is not None and given != spec.kind:
            message = f"provider {given!r} contradicts the type {spec.kind!r}"
            yield one.problem("conflict", f"{spec.key}.config.provider", message)


CHECKS: tuple[Check, ...] = (
    _template, _targets, _kinds, _settings, _keys, _models, _places, _hardware, _rules_of_file,
)  # fmt: skip
