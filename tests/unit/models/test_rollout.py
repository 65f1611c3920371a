"""Answers for training: fused or not the same tokens, prompts read once, log-probabilities known."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes.families import saved

from stead.config.kinds import registry
from stead.core.errors import Interrupted, ModelError
from stead.messages import Sampling
from stead.models.layers import layers
from stead.models.learner import Learner
from stead.models.load import load_model
from stead.models.writing import answer_cache, decode, rollout
from stead.values import LoadedModel

PROMPTS = [[1, 5, 6, 7, 8], [1, 9, 10], [1, *range(20, 60)]]
SEEDS = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
STOPS = tuple(range(2, 14))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def adapted(tiny_model: Path) -> tuple[LoadedModel, Learner]:
    """The tiny model with a LoRA whose second matrix is not zero, open for training."""
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    found = registry("adapter")
    found.create("lora", config=found.config_of("lora")()).wrap(loaded.model, layers, 3)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=draw)
    return loaded, Learner(loaded)


@pytest.fixture(params=["woven", "joined"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers' keys behind their prompts', or in a tensor of their own."""
    if request.param == "joined":
        monkeypatch.setattr(answer_cache, "_WOVEN_TOKENS", 0)


def write(loaded: LoadedModel, **more: Any) -> list[list[rollout.Written]]:
    sampling = Sampling(**({"max_tokens": 40} | more))
    return rollout.write(loaded, PROMPTS, SEEDS, sampling, STOPS)


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.7, "top_k": 20, "top_p": 0.9}, {"min_p": 0.3}, {"temperature": 0.0}]
)  # fmt: skip
@pytest.mark.usefixtures("either_way")
def test_fused_layers_write_what_the_models_own_code_writes(
    adapted: tuple[LoadedModel, Learner], sampling: dict[str, Any]
) -> None:
    loaded, learner = adapted
    assert decode.fits(loaded)
    fast = write(loaded, **sampling)
    learner.close()
    assert not decode.fits(loaded)

    plain = write(loaded, **sampling)

    assert [[w.ids for w in g] for g in fast] == [[w.ids for w in g] for g in plain]
    assert [[w.stopped for w in g] for g in fast] == [[w.stopped for w in g] for g in plain]
    if not sampling:
        for one, other in zip(chain(*fast), chain(*plain), strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.mark.usefixtures("either_way")
def test_the_answers_have_the_log_probabilities_of_the_training_pass(
    adapted: tuple[LoadedModel, Learner],
) -> None:
    """What the sampler drew from is what training computes: in float32 up to rounding."""
    from stead.data.tree import make_trees

    loaded, learner = adapted
    found = write(loaded)
    groups = [
        [([*p, *w.ids], [0] * len(p) + [1] * len(w.ids)) for w in g]
        for p, g in zip(PROMPTS, found, strict=True)
    ]
    with torch.no_grad():
        trained, _ = learner.label_log_probs(make_trees(groups, range(3)))

    sampled = torch.tensor([x for g in found for w in g for x in w.logprobs])
    torch.testing.assert_close(sampled, trained, atol=2e-5, rtol=0)


@pytest.mark.usefixtures("either_way")
def test_an_answer_does_not_depend_on_the_others(adapted: tuple[LoadedModel, Learner]) -> None:
    loaded, _ = adapted
    together = write(loaded)

    alone = rollout.write(loaded, PROMPTS[2:], [SEEDS[2][1:2]], Sampling(max_tokens=40), STOPS)

    assert alone[0][0].ids == together[2][1].ids


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.usefixtures("either_way")
def test_any_number_of_heads_and_answers_writes_what_the_models_own_code_writes(
    tiny_model: Path, tmp_path: Path, key_heads: int, answers: int
) -> None:
    """One answer, or one query head for each key head, needs no copy of the queries: still exact."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(tiny_model)
    config.num_key_value_heads = key_heads
    loaded = load_model(saved(config, tiny_model, tmp_path / "model"), dtype="fp32", device="cpu")
    seeds = [list(range(answers)) for _ in PROMPTS]

    def texts() -> list[list[tuple[int, ...]]]:
        found = rollout.write(loaded, PROMPTS, seeds, Sampling(max_tokens=20), STOPS)
        return [[w.ids for w in g] for g in found]

    learner = Learner(loaded)
    fast = texts()
    learner.close()

    assert fast == texts()


@pytest.mark.usefixtures("either_way")
def test_rows_that_leave_take_nothing_from_those_that_stay(
    adapted: tuple[LoadedModel, Learner],
) -> None:
    """Prompts of which all answers have ended go, and the others' keys are moved together."""
    loaded, _ = adapted
    seeds = [list(range(12 * i, 12 * i + 12)) for i in range(len(PROMPTS))]
    stops = tuple(range(2, 60))  # most end within a few tokens
    together = rollout.write(loaded, PROMPTS, seeds, Sampling(max_tokens=40), stops)
    lengths = [len(w.ids) for g in together for w in g]
    assert min(lengths) < 3 < 12 < max(lengths)

    for prompt, own, found in zip(PROMPTS, seeds, together, strict=True):
        alone = [
            rollout.write(loaded, [prompt], [[s]], Sampling(max_tokens=40), stops)[0][0].ids
            for s in own
        ]
        assert [w.ids for w in found] == alone


def test_an_answer_ends_with_its_stop_token_or_at_the_limit(
    adapted: tuple[LoadedModel, Learner],
) -> None:
    loaded, _ = adapted
    found = [w for g in write(loaded) for w in g]

    assert {w.stopped for w in found} == {True, False}
    for one in found:
        assert (one.ids[-1] in STOPS) == one.stopped
        assert not set(one.ids[:-1]) & set(STOPS)
        assert one.stopped or len(one.ids) == 40
        assert len(one.logprobs) == len(one.ids)


def test_the_context_ends_an_answer(adapted: tuple[LoadedModel, Learner]) -> None:
    loaded, _ = adapted
    long = [1] + [20] * 250

    found = rollout.write(loaded, [long, [1, 5]], [[1], [2]], Sampling(max_tokens=30), ())

    assert [len(g[0].ids) for g in found] == [5, 30]
    with pytest.raises(ModelError, match="256"):
        rollout.write(loaded, [[1] * 256], [[1]], Sampling(max_tokens=3), ())


def test_a_stop_request_ends_the_writing(adapted: tuple[LoadedModel, Learner]) -> None:
    loaded, _ = adapted

    def halt() -> None:
        raise Interrupted("interrupted", "stopped")

    with pytest.raises(Interrupted):
        rollout.write(loaded, PROMPTS, SEEDS, Sampling(max_tokens=9), (), halt=halt)


def test_a_prompt_is_read_once_for_all_its_answers(tiny_model: Path) -> None:
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    read = []
    hook = loaded.model.model.embed_tokens.register_forward_hook(
        lambda _module, inputs, _out: read.append(tuple(inputs[0].shape))
    )

    rollout.write(loaded, PROMPTS[:2], [[1, 2, 3, 4], [5, 6]], Sampling(max_tokens=2), ())

    hook.remove()
    assert read[0] == (2, 5)  # two prompts, not six rows
    assert read[1] == (6, 1)


def test_two_lanes_write_what_one_writes(adapted: tuple[LoadedModel, Learner]) -> None:
    """Half of the prompts each; a row does not know who else is written beside it."""
    loaded, _ = adapted
    prompts = [[1, 5 + i, 6] for i in range(8)]
    seeds = [list(range(10 * i, 10 * i + 8)) for i in range(8)]
    one = rollout.write(loaded, prompts, seeds, Sampling(max_tokens=9), STOPS)
    torch.set_num_threads(2)

    two = rollout.write(loaded, prompts, seeds, Sampling(max_tokens=9), STOPS)

    torch.set_num_threads(1)
    assert [[w.ids for w in g] for g in one] == [[w.ids for w in g] for g in two]


def test_lanes_get_about_equally_many_answers() -> None:
    torch.set_num_threads(2)
    found = [decode._lanes(n) for n in ([8] * 16, [8], [64], [4, 4], [60, 8, 8])]
    torch.set_num_threads(1)

    assert found[0] == [slice(0, 8), slice(8, 16)]
    assert found[1:4] == [[slice(0, 1)], [slice(0, 1)], [slice(0, 2)]]
    assert found[4] == [slice(0, 1), slice(1, 3)]
