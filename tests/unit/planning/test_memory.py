"""Counted memory against tensors that exist: weights, packed copies, kept activations, optimizers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.saved import held, learner

from stead.config.kinds import registry
from stead.config.run import RunConfig
from stead.hub.inspect import inspect
from stead.planning import disk, memory
from stead.planning.facts import DataFacts
from stead.planning.machine import Machine, table
from stead.planning.shape import shape, trainable
from stead.planning.work import work

torch = pytest.importorskip("torch")

MACHINE = Machine({128: 100.0, 512: 200.0}, 1e10, 3.5e8, 3.0, "test", measured=True)
TOKENS = 256


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose four widths all differ, so that a swapped one shows."""
    from tests.conftest import make_tiny_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide")
    make_tiny_tokenizer(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=320, hidden_size=96, intermediate_size=224, num_hidden_layers=3,
            num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=512,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def config(adapter: Any, dtype: str, **trainer: Any) -> RunConfig:
    return RunConfig(
        model={"path": "m", "device": "cpu", "dtype": dtype},
        data={"path": "d", "max_length": TOKENS},
        adapter=adapter,
        trainer={"batch_tokens": TOKENS, "epochs": 1.0, "logits_chunk": 64} | trainer,
    )


def parts(model: Path, chosen: RunConfig) -> dict[str, int]:
    data = DataFacts(
        rows=4, tokens=4 * TOKENS, label_tokens=2 * TOKENS, lengths={"max": TOKENS}, hash="d",
        kind="messages", quantiles=(TOKENS,) * 9,
    )  # fmt: skip
    facts = inspect(model, tokenizer=False)
    return memory.parts(chosen, facts, data, work(chosen, data, 1), MACHINE)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("adapter", [{"type": "full"}, {"type": "lora", "r": 8, "dropout": 0.1}])
def test_weights_and_packed_copies_are_those_of_the_opened_model(
    wide_model: Path, dtype: str, adapter: dict[str, Any]
) -> None:
    counted = parts(wide_model, config(adapter, dtype))
    with learner(wide_model, adapter, dtype) as opened:
        layers = [m._stead for m in opened.model.modules() if hasattr(m, "_stead")]
        packs = [p for layer in layers for p in (layer.qkv, layer.out, layer.up, layer.down)]
        frozen = [p for n, p in opened.model.named_parameters() if "lora_" not in n]
        bytes_held = held([*frozen, *(p.low for p in packs)])
        trained = sum(p.numel() for _, p in opened.trained())

    mapped = 0
    if dtype == "fp32":  # the file's own type: what was packed is still mapped
        mapped = sum(p.N * p.K for p in packs) * 4
    assert counted["weights"] == pytest.approx(bytes_held + mapped, rel=0.02)
    facts = inspect(wide_model, tokenizer=False)
    assert trainable(facts, config(adapter, dtype).adapter) == trained


@pytest.mark.parametrize("name", registry("optimizer").names())
def test_optimizer_bytes_are_those_of_the_real_state(name: str) -> None:
    named = [(n, torch.nn.Parameter(torch.ones(512, 512))) for n in ("w", "embed_tokens.weight")]
    optimizer = registry("optimizer").create(name, named=named)

    state = sum(t.numel() * t.element_size() for s in optimizer.slots.values() for t in s.values())

    counted = memory.state_bytes(config("full", "fp32", optimizer=name), tables=0.5) * 2 * 512 * 512
    assert counted == pytest.approx(state, rel=0.05, abs=0.1 * 2 * 512 * 512)


def test_an_average_of_weights_is_counted() -> None:
    usual, averaged = (config("full", "fp32", **e) for e in ({}, {"ema": 0.99}))

    assert memory.state_bytes(averaged, 0.0) == memory.state_bytes(usual, 0.0) + 4


def test_the_fused_families_are_those_that_are_fused() -> None:
    from stead.models import fused

    names = [name.removesuffix("DecoderLayer").lower() for name in fused._LAYERS]

    assert sorted(table()["fused_families"]) == sorted(names)


@pytest.mark.parametrize(
    ("over", "part", "factor"),
    [
        ({"optimizer": "sgd"}, "optimizer", 0.5),
        ({"logits_chunk": 32}, "logits", 0.5),
        ({"batch_tokens": 512}, "working", 2.0),
    ],
)
def test_a_setting_changes_its_part_in_proportion(
    wide_model: Path, over: dict[str, Any], part: str, factor: float
) -> None:
    usual = parts(wide_model, config("full", "bf16"))
    changed = parts(wide_model, config("full", "bf16", **over))

    assert changed[part] == pytest.approx(usual[part] * factor, rel=0.01)


def test_recomputing_keeps_one_layer_and_the_borders(wide_model: Path) -> None:
    usual = parts(wide_model, config("full", "bf16"))["activations"]
    again = parts(wide_model, config("full", "bf16", gradient_checkpointing=True))["activations"]

    assert usual / 3 < again < usual / 2  # of three layers


def test_a_distance_over_the_vocabulary_has_so_many_arrays_at_once(
    wide_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.models import products
    from stead.models.divergence import Distance, chunked_sum
    from stead.models.loss import Head
    from stead.models.measure import Measure

    monkeypatch.setattr(products, "_multiplies", lambda _: True)  # else one more, of 16 MiB at most
    rows, vocab = 64, 4096
    heads = [Head(torch.randn(vocab, 8, dtype=torch.bfloat16)) for _ in range(2)]
    hidden = torch.randn(rows, 8, dtype=torch.bfloat16, requires_grad=True)
    taught = torch.randn(rows, 8, dtype=torch.bfloat16)
    measure = Measure("forward_kl", 2.0, 0.5, 0.5, None)
    loss = Distance(measure, torch.zeros(rows, dtype=torch.int64), taught, heads[1], vocab)

    with peak_of_new_tensors() as peak:
        chunked_sum(hidden, heads[0], loss, rows)

    said = config("full", "bf16").model_copy(update={"method": distilling("logits")})
    assert memory._logit_arrays(said) == pytest.approx(peak[0] / (rows * vocab * 4), rel=0.1)


def distilling(kind: str) -> Any:
    found = RunConfig(
        model={"path": "m"}, data={"path": "d"},
        method={"type": "distillation", "kind": kind, "teacher": "t"},
    )  # fmt: skip
    return found.method


@contextmanager
def peak_of_new_tensors() -> Iterator[list[int]]:
    """Yield a list that holds, at the end, the most bytes of tensors made inside that lived at once."""
    from weakref import finalize

    from torch.utils._python_dispatch import TorchDispatchMode

    live: dict[int, int] = {}
    peak = [0]

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            found = function(*args, **(kwargs or {}))
            for tensor in found if isinstance(found, tuple | list) else (found,):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    key = storage._cdata
                    if key not in live:
                        live[key] = storage.nbytes()
                        finalize(storage, live.pop, key, None)
            peak[0] = max(peak[0], sum(live.values()))
            return found

    with Watch():
        yield peak


@pytest.mark.parametrize(("layers", "deep"), [(1, 1), (2, 2), (-1, 3)])
def test_layers_below_the_lowest_trained_one_keep_nothing(
    wide_model: Path, layers: int, deep: int
) -> None:
    whole = parts(wide_model, config("full", "fp32"))["activations"]
    chosen = config({"type": "freeze", "layers": layers}, "fp32")
    borders = 3 * TOKENS * 96 * 4  # of the hidden size

    assert parts(wide_model, chosen)["activations"] - borders == pytest.approx(
        (whole - borders) * deep / 3, rel=0.01
    )


def test_trained_embeddings_let_gradients_through_all_layers(wide_model: Path) -> None:
    facts = inspect(wide_model, tokenizer=False)
    chosen = config({"type": "freeze", "layers": 1, "names": ["model.embed_tokens.*"]}, "fp32")

    assert shape(facts, chosen.adapter, "cpu").deep == 3


def test_a_whole_model_is_written_whatever_was_trained_of_it(wide_model: Path) -> None:
    facts = inspect(wide_model, tokenizer=False)
    frozen, low = (config(a, "bf16") for a in ({"type": "freeze", "layers": 1}, "lora"))

    assert 0 <= disk.final_bytes(frozen, facts) - facts.parameters * 2 < 30_000  # and its texts
    assert disk.final_bytes(low, facts) < facts.parameters


@pytest.mark.parametrize(
    ("installed", "adapter", "trainer", "method", "said"),
    [
        (True, {"type": "lora"}, {}, "sft", ""),
        (True, {"type": "lora"}, {"gradient_checkpointing": True}, "sft", ""),
        (True, {"type": "lora"}, {}, "grpo", ""),
        (True, {"type": "full"}, {}, "grpo", "scalable"),
        (True, {"type": "lora"}, {"label_smoothing": 0.1}, "sft", "scalable"),
        (True, {"type": "lora"}, {}, "distillation", "scalable"),
        (True, {"type": "lora", "dora": True}, {}, "sft", "scalable"),
        (False, {"type": "lora", "dora": True}, {}, "sft", ""),
        (False, {"type": "lora", "dora": True}, {"gradient_checkpointing": True}, "sft", "mapped"),
    ],
)
def test_only_runs_that_waste_memory_ask_for_another_allocator(
    installed: bool, adapter: Any, trainer: Any, method: str, said: str,
    wide_model: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(memory.blocks, "scalable", lambda: (Path("lib"),) if installed else ())
    chosen = RunConfig.model_validate(
        config(adapter, "fp32", **trainer).model_dump() | {"method": {"type": method}}
    )
    found = shape(inspect(wide_model, tokenizer=False), chosen.adapter, "cpu")
    assert memory.allocator(chosen, found) == said
