"""The only place that renders a chat: training, export, serving and evaluation all use it.

Knows nothing about tokens or files of rows. Templates come from strangers, so they run in a sandbox
without loader, with listed attributes and filters, counted steps and bounded sizes; what a harmless
template renders is byte for byte what `transformers` renders.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from stead.core.errors import DataError
from stead.data import spans
from stead.data.bounds import (
    BINOPS,
    OUTPUT_LIMIT,
    SOURCE_LIMIT,
    Budget,
    checked,
    fits,
    measure,
    measure_call,
    tojson,
    too_much,
    unsafe,
)
from stead.data.chat import chat_dicts
from stead.data.marks import BLOCK, Renderer
from stead.data.template_files import TemplateFiles, default_source, read_template_files
from stead.data.template_nodes import blocks_are_apart, instrument
from stead.messages import Message

FIXED_DATE = datetime(2024, 7, 26)  # the date Llama 3's own template falls back to

_STR = {
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "upper",
    "lower", "title", "capitalize", "replace", "find", "rfind", "index", "count", "join", "isdigit",
    "isalpha", "isalnum", "isspace", "isupper", "islower", "removeprefix", "removesuffix", "partition",
    "rpartition", "swapcase",
}  # fmt: skip
_ATTRIBUTES: tuple[tuple[type, frozenset[str]], ...] = (
    (str, frozenset(_STR)),
    (dict, frozenset({"items", "keys", "values", "get", "copy"})),
    (list, frozenset({"index", "count", "copy"})),
    (tuple, frozenset({"index", "count"})),
)
_FILTERS = (
    "abs", "attr", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first",
    "float", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map",
    "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select",
    "selectattr", "slice", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper",
)  # fmt: skip


class _Marks(Extension):
    """`{% generation %}` as in transformers; marks its text when the render asks for marks."""

    tags = {"generation"}  # noqa: RUF012 - jinja's interface

    def parse(self, parser: Parser) -> nodes.Node:
        """Turn the block into a call that sees its rendered body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        text = caller()
        marks: tuple[str, str] | None = self.environment.marks  # type: ignore[attr-defined]
        return text if marks is None else marks[0] + text + marks[1]

    def _step(self) -> str:
        self.environment.budget.spend()  # type: ignore[attr-defined]
        return ""

    def _literal(self, value: Any) -> Any:  # Any: a list, tuple or dict of template values
        measure(value)  # nested ones double with every step and print as 2^steps
        return value

    def _concat(self, parts: Sequence[Any]) -> str:  # Any: template values
        measure(list(parts))
        texts = [str(part) for part in parts]
        fits(sum(map(len, texts)))
        return "".join(texts)

    def call_named(self, name: str, *arguments: nodes.Expr) -> nodes.Call:
        """Return the node that calls a method of this extension."""
        return self.call_method(name, list(arguments))


class _Names(Namespace):
    """`namespace()` without names that begin with an underscore, as in transformers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: what dict() takes
        values = dict(*args, **kwargs)
        for name in values:
            _check_name(name)
        super().__init__(values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<namespace>"


def _printable(value: Any) -> Any:  # Any: template values
    """Refuse to print nested values that would print without end."""
    if isinstance(value, list | tuple | dict):
        measure(value)
    return value


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:  # Any: what dict() takes
    found = dict(*args, **kwargs)
    measure(found)
    return found


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise unsafe(f"the name {name!r} in a namespace")


class _Environment(ImmutableSandboxedEnvironment):
    """jinja2's sandbox, narrowed: listed attributes and filters, sizes checked before they grow."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printable,
            optimized=False,  # constants would be computed while compiling, before any limit
            extensions=[_Marks, LoopControlExtension],
        )
        self.budget = Budget()
        self.lock = threading.Lock()
        self.marks: tuple[str, str] | None = None
        self.blocks_apart = False
        self.clock = FIXED_DATE
        filters = {name: checked(self.filters[name]) for name in _FILTERS}
        self.filters.clear()
        self.filters.update(filters | {"tojson": tojson})
        self.globals.clear()
        self.globals.update(
            range=self._range, dict=_dict, namespace=_Names, raise_exception=_raise,
            strftime_now=self._now,
        )  # fmt: skip

    def _range(self, *arguments: int) -> range:
        found = range(*arguments)
        self.budget.spend(len(found))
        return found

    def _now(self, form: str) -> str:
        return self.clock.strftime(form)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow the listed attributes of plain data and jinja's own loop and namespace."""
        if attr.startswith("_"):
            raise unsafe(f"the attribute {attr!r}")
        for kind, names in _ATTRIBUTES:
            if isinstance(obj, kind):
                if attr in names:
                    return True
                raise unsafe(f"the attribute {attr!r} of a {kind.__name__}")
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Refuse `text.format`: its widths make texts of any size."""
        if super().wrap_str_format(value) is not None:
            raise unsafe("the method 'format' of a str")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute an operator whose result could be huge, if it is not."""
        if operator == "+" and type(left) is str and type(right) is str:  # the usual one, at once
            fits(len(left) + len(right))
            return left + right
        BINOPS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls; text methods that multiply are measured first."""
        owner = getattr(obj, "__self__", None)
        if type(owner) is _Marks:  # our own, which no template can name: nothing to look into
            return obj(*args, **{k: v for k, v in kwargs.items() if k == "caller"})
        if isinstance(owner, str):
            measure_call(obj.__name__, owner, args)
        return super().call(context, obj, *args, **kwargs)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        self._instrument(source)
        return super()._generate(source, *args, **kwargs)

    def _instrument(self, tree: nodes.Template) -> None:
        extension = self.extensions[_Marks.identifier]
        assert isinstance(extension, _Marks)  # noqa: S101 - for the type checker
        self.blocks_apart = blocks_are_apart(tree)
        instrument(tree, extension.call_named)


def _raise(message: str) -> str:
    raise jinja2.TemplateError(message)


_RUN_ERRORS = (
    jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError,
    ZeroDivisionError, RecursionError, MemoryError,
)  # fmt: skip


@lru_cache(maxsize=32)
def _compile(source: str) -> jinja2.Template:
    """Compile a template once. Raises: UnsafeError, DataError("template-broken")."""
    if len(source) > SOURCE_LIMIT:
        raise too_much(f"{len(source)} characters of source (limit {SOURCE_LIMIT})")
    try:
        return _Environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        message = f"line {error.lineno} of the chat template: {error.message}"
        raise DataError("template-broken", message) from error
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
        raise too_much("a nesting too deep to compile") from error


@lru_cache(maxsize=32)
def _blocks_are_apart(source: str, tokens: tuple[str, ...]) -> bool:
    """Say whether one marked rendering shows text and blocks: see `marks.Renderer`."""
    environment = _compile(source).environment
    assert isinstance(environment, _Environment)  # noqa: S101 - for the type checker
    texts = "".join((source, *tokens)).lower()
    return environment.blocks_apart and not any(
        f"{ord(mark):x}" in texts or mark in texts for mark in BLOCK
    )


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered chat; each span [start, end) of `text` is trained, in ascending order."""

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """One chat template with the special tokens it may print.

    `named` are the folder's other templates; "tool_use" is taken when tools are given, as in
    transformers. Rendering is a pure function: `now` stands for the date, where a template prints it.
    """

    source: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    specials: frozenset[str] = frozenset()
    named: Mapping[str, str] = field(default_factory=dict)
    is_default: bool = False
    now: datetime = FIXED_DATE

    @classmethod
    def open(cls, folder: Path) -> "ChatTemplate":
        """Read the template of a model folder; without one the default of `template_files` is used."""
        return cls.from_files(read_template_files(folder))

    @classmethod
    def from_files(cls, files: TemplateFiles) -> "ChatTemplate":
        """Choose the template of `files` that transformers would choose."""
        source = files.sources.get("default")
        if source is None and len(files.sources) == 1:
            source = next(iter(files.sources.values()))
        is_default = source is None
        text = default_source(files) if source is None else source
        return cls(text, files.tokens, files.specials, files.sources, is_default)

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides what is rendered."""
        parts = [
            self.source,
            sorted(self.tokens.items()),
            sorted(self.named.items()),
            str(self.now),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = False,
    ) -> str:
        """Return the chat as text.

        Raises: DataError("template-refused") when the template itself refuses the messages,
        DataError("template-broken") when it fails, UnsafeError when it could do harm.
        """
        return self._run(chat_dicts(messages), tools, generate=add_generation_prompt, marks=None)

    def render_masked(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        train: str = "all",
        *,
        first: int = 0,
    ) -> Rendered:
        """Return the chat and exactly which characters of it are trained.

        Trained is what the model has to write: an assistant turn with its tool calls and its end
        token. `train` "last" takes the last assistant turn only; `first` skips turns before it.
        Raises: as `render`, and DataError("mask-not-exact") rather than a guess.
        """
        return Rendered(*spans.locate(self._bound(tools), messages, train=train, first=first))

    def end_of_turn(self) -> str:
        """Return the text that ends an assistant turn, e.g. `<|im_end|>`; "" when there is none."""
        return spans.end_of_turn(self._bound(()))

    def _bound(self, tools: Sequence[Mapping[str, Any]]) -> Renderer:
        def run(chat: list[dict[str, Any]], generate: bool, marks: tuple[str, str] | None) -> str:
            return self._run(chat, tools, generate=generate, marks=marks)

        source = self._chosen(tools)
        key = (source, frozenset(self.tokens.items()), self.now)
        has_blocks = "endgeneration" in source
        apart = has_blocks and not tools and _blocks_are_apart(source, tuple(self.tokens.values()))
        return Renderer(run, key, has_blocks, self.specials, apart)

    def _chosen(self, tools: Sequence[Mapping[str, Any]]) -> str:
        return self.named.get("tool_use", self.source) if tools else self.source

    def _run(
        self,
        chat: list[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        generate: bool,
        marks: tuple[str, str] | None,
    ) -> str:
        template = _compile(self._chosen(tools))
        environment = template.environment
        assert isinstance(environment, _Environment)  # noqa: S101 - for the type checker
        pieces = template.generate(
            messages=chat,
            tools=[dict(tool) for tool in tools] if tools else None,
            documents=None,
            add_generation_prompt=generate,
            **self.tokens,
        )
        try:
            with environment.lock:  # budget and marks belong to one render at a time
                environment.budget.start()
                environment.marks, environment.clock = marks, self.now
                return "".join(_bounded(pieces, OUTPUT_LIMIT + 2 * _length(chat)))
        except jinja2.exceptions.SecurityError as error:
            raise unsafe(f"something forbidden: {error}") from error
        except jinja2.UndefinedError as error:
            raise DataError("template-broken", f"the chat template fails: {error}") from error
        except jinja2.TemplateError as error:
            raise DataError("template-refused", f"the chat template refuses: {error}") from error
        except _RUN_ERRORS as error:
            raise DataError("template-broken", f"the chat template fails: {error!r}") from error


def _bounded(pieces: Iterable[str], limit: int) -> Iterator[str]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise too_much(f"to print more than {limit} characters")
        yield piece


def _length(chat: list[dict[str, Any]]) -> int:
    return sum(len(m["content"]) for m in chat if isinstance(m.get("content"), str))
