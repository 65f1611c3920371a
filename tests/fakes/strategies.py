"""Strategies made of a few lines of YAML, against mock vendors."""

import textwrap

from stead.config.load import parse_yaml
from stead.config.strategy_check import Known
from stead.config.strategy_read import read_strategies
from stead.inference.compose import Parts, compose
from stead.inference.endpoint import Absent
from stead.inference.vendor_rows import rows
from stead.messages import Call, GenerateRequest, Message, Sampling

VENDORS = {name: facts.place for name, facts in rows().items()}


def read(text, environment=None):
    """Read the strategies of a text; the name of the file is `s.yaml`."""
    document = parse_yaml(textwrap.dedent(text), "s.yaml")
    return read_strategies(document, environment or {}, Known(VENDORS))


def one(body, environment=None):
    """Read one strategy called `s` of the lines that stand below its name."""
    inner = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return read(f"strategies:\n  - name: s\n{inner}\n", environment)


def made(found, *, local=None, name="s", **parts):
    """Compose a strategy of a file that was read."""
    local = local or (lambda spec: Absent(spec.name, "no programs here"))
    return compose(found.get(name), Parts(local=local, find=found.get, off=found.off, **parts))


def ask(text="one two three", model="auto", tags=(), **fields):
    """Return a request with a call record."""
    sampling = {k: fields.pop(k) for k in list(fields) if k in Sampling.__struct_fields__}
    return GenerateRequest(
        model=model,
        messages=(Message("user", text),),
        sampling=Sampling(**sampling),
        call=Call(id="c1", tags=frozenset(tags), attempts=[], deviations=[]),
        **fields,
    )
