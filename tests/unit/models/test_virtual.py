"""Virtual tokens: PEFT's logits and files both ways, packed = padded, generation, switching off."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes.batches import flat
from tests.unit.models.test_fused import FAMILIES, build
from transformers import AutoModelForCausalLM

from stead.config.kinds import registry
from stead.core.errors import ModelError
from stead.messages import Sampling
from stead.models.adapter import Adapter, Origin
from stead.models.layers import layers, virtual
from stead.models.learner import Learner, LearnerOptions
from stead.models.load import load_model
from stead.models.writing.generate import generate
from stead.models.writing.likelihood import embed, score
from stead.values import LoadedModel

# PEFT 0.21 asks transformers 5.23 for a property under its old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported"),  # PEFT, while it generates
]

IDS = torch.arange(5, 25)[None]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt": ("prompt", {"tokens": 4}),
    "prompt-random": ("prompt", {"tokens": 3, "start": "random"}),
    "p_tuning": ("p_tuning", {"tokens": 4}),
    "p_tuning-lstm": ("p_tuning", {"tokens": 4, "encoder": "lstm", "hidden": 8}),
    "prefix": ("prefix", {"tokens": 5}),
    "prefix-projection": ("prefix", {"tokens": 5, "projection": True, "hidden": 16}),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def adapter(case: str) -> Adapter:
    name, settings = CASES[case]
    known = registry("adapter")
    return known.create(name, config=known.config_of(name)(**settings))  # type: ignore[no-any-return]


def wrapped(folder: Path, case: str, seed: int = 1) -> LoadedModel:
    """Load the model, put virtual tokens in front and move their numbers away from the start."""
    loaded = load_model(folder, dtype="fp32", device="cpu")
    adapter(case).wrap(loaded.model, layers, seed)
    stir(loaded.model)
    return loaded


def stir(model: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=draw) * 0.2
            parameter.data += noise


def logits(model: torch.nn.Module, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("case", CASES)
def test_peft_loads_our_virtual_tokens_with_equal_logits(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    loaded = wrapped(tiny_model, case)
    adapter(case).save(loaded.model, layers, tmp_path, Origin(tiny_model))

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    before = logits(base)
    theirs = logits(PeftModel.from_pretrained(base, tmp_path))

    ours = logits(loaded.model)
    assert torch.allclose(theirs[:, -IDS.shape[1] :], ours, atol=1e-5)
    assert not torch.allclose(before, ours, atol=1e-2)  # the virtual tokens do something
    again = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)
    assert torch.allclose(logits(again.model), ours, atol=1e-6)


PEFT: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt": ("PromptTuningConfig", {}),
    "p_tuning": ("PromptEncoderConfig", {"encoder_hidden_size": 8}),
    "prefix": ("PrefixTuningConfig", {}),
    "prefix-projection": ("PrefixTuningConfig", {"prefix_projection": True, "encoder_hidden_size": 8}),
}  # fmt: skip


@pytest.mark.parametrize("case", PEFT)
def test_virtual_tokens_made_by_peft_load_with_equal_logits_and_answers(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    import peft

    name, settings = PEFT[case]
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    torch.manual_seed(5)
    config = getattr(peft, name)(num_virtual_tokens=6, task_type="CAUSAL_LM", **settings)
    theirs = peft.get_peft_model(base, config).eval()
    theirs.save_pretrained(tmp_path)

    ours = load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)

    expected = logits(theirs)[:, -IDS.shape[1] :]
    assert torch.allclose(logits(ours.model), expected, atol=1e-5)
    written = theirs.generate(
        input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=8, do_sample=False,
        eos_token_id=None, pad_token_id=3,
    )  # fmt: skip
    found = generate(ours, [IDS[0].tolist()], Sampling(temperature=0, max_tokens=8))
    assert list(found[0].ids) == written[0, IDS.shape[1] :].tolist()


def learner(model: torch.nn.Module) -> Learner:
    return Learner(LoadedModel(model, None, None, torch.device("cpu"), torch.float32))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_packed_rows_give_the_loss_and_gradients_of_rows_run_alone(family: str, name: str) -> None:
    """Packed: one shared row of virtual tokens. Alone: a cache that begins with them."""
    batch = flat((7, 12, 3), vocabulary=90)
    known = registry("adapter")
    model = build(family)
    known.create(name, config=known.config_of(name)(tokens=3)).wrap(model, layers, 1)
    stir(model)
    learning = learner(model)
    named = learning.trained()
    total, count = learning.label_loss(batch)
    found = torch.autograd.grad(total, [p for _, p in named])
    learning.close()
    model.set_attn_implementation("eager")
    expected = torch.zeros(())
    for a, b in zip(batch.starts[:-1], batch.starts[1:], strict=True):
        out = model(input_ids=torch.as_tensor(batch.tokens[None, a:b])).logits[0]
        expected = expected + torch.nn.functional.cross_entropy(
            out, torch.as_tensor(batch.labels[a:b]), reduction="sum"
        )
    reference = torch.autograd.grad(expected, [p for _, p in named])

    assert [n.split(".")[0] for n, _ in named] == [virtual.NAME]
    assert float(total.detach()) / count == pytest.approx(
        float(expected.detach()) / count, abs=1e-6
    )
    for one, two in zip(found, reference, strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_an_answer_does_not_depend_on_its_company(
    case: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stead.models.writing import batch

    monkeypatch.setitem(batch._ROWS, "cpu", 4)
    loaded = wrapped(tiny_model, case)
    draw = torch.Generator().manual_seed(1)
    asked = [torch.randint(4, 300, (3 + 5 * i,), generator=draw).tolist() for i in range(9)]
    samplings = [Sampling(temperature=0.9, seed=i, max_tokens=4 + 3 * i) for i in range(9)]

    together = generate(loaded, asked, samplings)
    alone = [generate(loaded, [p], s)[0] for p, s in zip(asked, samplings, strict=True)]

    assert together == alone


@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_scores_vectors_and_answers_agree_with_one_forward_pass(
    case: str, tiny_model: Path
) -> None:
    loaded = wrapped(tiny_model, case)
    row = IDS[0].tolist()
    plain = torch.log_softmax(logits(loaded.model)[0].double(), -1)

    expected = [float(plain[t - 1, row[t]]) for t in range(1, len(row))]
    assert score(loaded, [row, row[:4]])[0] == pytest.approx(expected, abs=1e-5)
    found = generate(loaded, [row], Sampling(temperature=0, max_tokens=1))[0]
    assert found.ids[0] == int(plain[-1].argmax())
    assert embed(loaded, [row, row[:3]])[0] == pytest.approx(embed(loaded, [row])[0], abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_switched_off_the_model_is_what_it_was(case: str, tiny_model: Path) -> None:
    base = load_model(tiny_model, dtype="fp32", device="cpu")
    expected = logits(base.model)
    loaded = wrapped(tiny_model, case)
    learning = Learner(loaded)
    batch = flat((5, 9), vocabulary=300)

    with learning.reference():
        off = learning.hidden(batch)
        assert torch.allclose(logits(loaded.model), expected, atol=1e-6)
    assert torch.allclose(off, Learner(base).hidden(batch), atol=1e-5)
    assert not torch.allclose(off, learning.hidden(batch), atol=1e-3)


def test_virtual_tokens_begin_as_a_text(tiny_model: Path) -> None:
    known = registry("adapter")
    text = "the quick brown fox"
    ids = load_model(tiny_model).tokenizer(text)["input_ids"]

    found = {}
    for name in ("prompt", "prefix"):
        loaded = load_model(tiny_model, dtype="fp32", device="cpu")
        config = known.config_of(name)(tokens=len(ids), text=text)
        known.create(name, config=config).wrap(loaded.model, layers, 1)
        found[name] = logits(loaded.model)

    plain = load_model(tiny_model, dtype="fp32", device="cpu")
    expected = logits(plain.model, torch.cat((torch.tensor([ids]), IDS), 1))[:, len(ids) :]
    assert torch.allclose(found["prompt"], expected, atol=1e-5)
    assert torch.allclose(found["prefix"], expected, atol=1e-5)


def test_prompts_of_another_model_two_prompts_and_merging_are_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from stead.models.merge import merge

    loaded = wrapped(tiny_model, "prompt")
    adapter("prompt").save(loaded.model, layers, tmp_path, Origin(tiny_model))

    with pytest.raises(ModelError, match="already"):
        adapter("prefix").wrap(loaded.model, layers, 1)
    with pytest.raises(ModelError, match="inputs, not weights"):
        merge(tiny_model, tmp_path, tmp_path / "merged")
    known, plain = registry("adapter"), load_model(tiny_model).model
    long = known.create("prompt", config=known.config_of("prompt")(tokens=256))
    with pytest.raises(ModelError, match="do not fit a context"):
        long.wrap(plain, layers, 1)
    save_file({"prompt_embeddings": torch.zeros(4, 3)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError) as caught:
        load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)
    assert caught.value.code == "adapter-mismatch"
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"peft_type": "ROAD"}))
    with pytest.raises(ModelError, match="ROAD"):
        load_model(tiny_model, dtype="fp32", device="cpu", adapter=tmp_path)


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gemma2"])
@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_answers_are_those_of_whole_forward_passes_with_sliding_windows_too(
    family: str, name: str, tiny_model: Path
) -> None:
    model = build(family)
    known = registry("adapter")
    known.create(name, config=known.config_of(name)(tokens=3)).wrap(model, layers, 1)
    stir(model)
    tokenizer = load_model(tiny_model, dtype="fp32", device="cpu").tokenizer
    loaded = LoadedModel(model, tokenizer, tiny_model, torch.device("cpu"), torch.float32)
    asked = [[5, 9, 30], [7, 12, 41, 8, 8], [60, 3], [11, 2, 90, 4, 33, 21, 6]]

    found = generate(loaded, asked, Sampling(temperature=0, max_tokens=6))

    model.set_attn_implementation("eager")
    for prompt, answer in zip(asked, found, strict=True):
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(logits(model, torch.tensor([ids]))[0, -1].argmax()))
        assert list(answer.ids) == ids[len(prompt) :]


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_recomputation_gives_the_same_gradients(name: str) -> None:
    found = []
    for checkpointing in (False, True):
        model = build("llama").train()
        known = registry("adapter")
        known.create(name, config=known.config_of(name)(tokens=3)).wrap(model, layers, 1)
        stir(model)
        loaded = LoadedModel(model, None, None, torch.device("cpu"), torch.float32)
        learning = Learner(loaded, LearnerOptions(checkpointing=checkpointing))
        total, _ = learning.label_loss(flat((7, 12, 3), vocabulary=90))
        found.append(torch.autograd.grad(total, [p for _, p in learning.trained()])[0])

    torch.testing.assert_close(found[1], found[0])
