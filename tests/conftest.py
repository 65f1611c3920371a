"""What every test gets: its own data directory, no network, quiet libraries, a tiny model on request.

Knows nothing about single tests. Also the bookkeeping of `@pytest.mark.spec`: with `--spec-out FILE`
the outcome of every marked test is written there, and `--spec` runs only those.
"""

import asyncio
import inspect
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run; no clock decides a test on a busy machine.
settings.register_profile(
    "house", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

_OFF_BY_DEFAULT = ("slow", "gpu", "network")
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every", action="store_true", help="also run slow, gpu and network tests")
    parser.addoption("--spec", action="store_true", help="run only tests that show a promise")
    parser.addoption("--spec-out", help="write promise ids and outcomes to this JSON file")


def _ids(item: pytest.Item) -> list[str]:
    return [i for mark in item.iter_markers("spec") for i in mark.args]


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests on a loop of their own; nothing may hang for ever."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    names = inspect.signature(test).parameters

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test(**{name: pyfuncitem.funcargs[name] for name in names})

    asyncio.run(bounded())
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--spec"):
        dropped = [item for item in items if not _ids(item)]
        items[:] = [item for item in items if _ids(item)]
        config.hook.pytest_deselected(items=dropped)
    for item in items:
        item.user_properties.append(("spec", _ids(item)))  # travels to xdist's controller
        for name in _OFF_BY_DEFAULT:
            if item.get_closest_marker(name) and not config.getoption("--every"):
                item.add_marker(pytest.mark.skip(reason=f"not run: {name} is off by default"))


class _Spec:
    """Collects outcomes; runs where the reports arrive: the only process, or xdist's controller."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ids = dict(report.user_properties).get("spec", [])
        if not ids:
            return
        test = self.tests.setdefault(report.nodeid, {"ids": ids, "outcome": "passed"})
        if report.outcome != "passed":
            test["outcome"] = report.outcome

    def pytest_sessionfinish(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.tests, indent=1, sort_keys=True) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    out = config.getoption("--spec-out")
    if out and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Spec(Path(out)), "stead-spec")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of this test."""
    path = tmp_path_factory.mktemp("home")
    for name in [n for n in os.environ if n.startswith("STEAD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STEAD_HOME", str(path))
    return path


@pytest.fixture(autouse=True)
def no_stop_requested() -> Iterator[None]:
    """Let no test stop because an earlier one asked for it."""
    from stead.core.process import stop_requested

    yield
    stop_requested.clear()


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(sock: socket.socket, address: Any) -> None:
        inside = sock.family not in (socket.AF_INET, socket.AF_INET6)
        if not inside and not str(address[0]).startswith(_LOOPBACK):
            raise PermissionError(f"a test tried to reach {address!r}")

    def guarded(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)


TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>"
    "{% endgeneration %}{% else %}{{ message.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT = (
    "the quick brown fox jumps over the lazy dog",
    "what is two plus two? two plus two is four.",
    "a small model learns from small examples, one token after another.",
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with random weights from a seed and a byte-level BPE tokenizer. Do not change it.

    Hidden 64, 2 layers, 4 heads on 2 key-value heads, 320 words, context 256, ChatML template with
    generation markers.
    """
    folder = tmp_path_factory.mktemp("tiny-model")
    make_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a GGUF file, f32."""
    pytest.importorskip("xllamacpp")
    from stead.exporting.formats.gguf import GGUF
    from stead.exporting.source import Source

    out = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    GGUF().export(Source.open(tiny_model), out, quant="f32")
    return out


def make_tiny_model(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE) -> None:
    """Write the tiny model into `folder`."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tiny_tokenizer(folder, template=template)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_tiny_tokenizer(folder: Path, *, template: str | None = TEMPLATE) -> None:
    """Write a byte-level BPE tokenizer of at most 320 words with ChatML's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
    )
    if template is not None:
        fast.chat_template = template
    fast.save_pretrained(folder)


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Remove stead's log handlers after the test."""
    from stead.core import log

    yield
    log.tear_down()
