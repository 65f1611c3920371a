"""Several adapters beside one base: chosen by the request's model, side by side, in and out while it runs."""

import asyncio
import json
import shutil

import pytest
import torch
from tests.fakes.adapters import train

from stead.core.errors import ModelError, NotFound
from stead.messages import EmbedRequest, GenerateRequest, Sampling
from stead.models.load import load_model
from stead.models.writing.local import LocalBackend
from stead.models.writing.lora_set import LoraSet
from stead.models.writing.served import Serving


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("adapters")
    train(tiny_model, place / "poet", 1)
    train(tiny_model, place / "clerk", 2, target_modules=("q_proj", "down_proj"), rslora=True)
    return place


@pytest.fixture
def place(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "adapters")
    return tmp_path / "adapters"


def make(tiny_model, place, **serving):
    loaded = load_model(tiny_model, dtype="fp32", device="cpu")
    adapters = LoraSet(loaded, [place])
    return LocalBackend.of(loaded, name="tiny", serving=Serving(**serving), adapters=adapters)


def ask(model, text="the quick brown", **sampling):
    sampling = Sampling(**({"temperature": 0, "max_tokens": 16} | sampling))
    return GenerateRequest(model=model, prompt=text, sampling=sampling)


def attached(tiny_model, folder, request):
    """What a model with the adapter put on for good answers: transformers' own layers."""
    loaded = load_model(tiny_model, dtype="fp32", device="cpu", adapter=folder)
    return asyncio.run(LocalBackend.of(loaded, serving=Serving(fuse=False)).generate(request)).text


@pytest.mark.parametrize("serving", [{}, {"exact": True}, {"fuse": False}])
def test_rows_of_one_batch_answer_with_their_own_adapters(tiny_model, place, serving):
    backend = make(tiny_model, place, **serving)
    names = ["tiny", "tiny:poet", "tiny:clerk", "poet", "tiny:poet", "tiny"]
    texts = ["the quick brown"] * 4 + ["a small model"] * 2
    requests = [ask(n, t, logprobs=1) for n, t in zip(names, texts, strict=True)]

    async def together():
        return await asyncio.gather(*(backend.generate(r) for r in requests))

    replies = asyncio.run(together())
    alone = [asyncio.run(backend.generate(r)) for r in requests]

    assert [r.text for r in replies] == [r.text for r in alone]
    if serving.get("exact"):
        assert [r.choices for r in replies] == [r.choices for r in alone]
    assert [r.model for r in replies] == [
        "tiny", "tiny:poet", "tiny:clerk", "tiny:poet", "tiny:poet", "tiny",
    ]  # fmt: skip
    assert len({r.text for r in replies[:3]}) == 3
    for name, text in (("poet", texts[0]), ("clerk", texts[0]), ("poet", texts[4])):
        at = next(
            i for i, r in enumerate(requests) if (r.model, r.prompt) == (f"tiny:{name}", text)
        )
        assert replies[at].text == attached(tiny_model, place / name, requests[at])


def test_scores_and_vectors_use_the_adapter_too(tiny_model, place):
    backend = make(tiny_model, place)

    def values(model):
        request = GenerateRequest(
            model=model,
            prompt="a small model",
            echo=True,
            sampling=Sampling(max_tokens=0, logprobs=0),
        )
        found = asyncio.run(backend.generate(request)).choices[0].logprobs
        vectors = asyncio.run(backend.embed(EmbedRequest(model=model, input=("the",)))).vectors
        return [t.logprob for t in found], vectors

    plain, poet = values("tiny"), values("tiny:poet")

    assert plain[0] != poet[0]
    assert plain[1] != poet[1]
    assert values("tiny") == plain


def test_a_folder_copied_in_is_served_and_one_deleted_is_gone(tiny_model, place, trained):
    backend = make(tiny_model, place)
    asyncio.run(backend.generate(ask("tiny:poet")))

    shutil.copytree(trained / "poet", place / "bard")
    shutil.rmtree(place / "poet")

    assert [c.id for c in asyncio.run(backend.models())] == ["tiny", "tiny:bard", "tiny:clerk"]
    assert asyncio.run(backend.generate(ask("tiny:bard"))).text
    with pytest.raises(NotFound, match="'poet' is not here"):
        asyncio.run(backend.generate(ask("tiny:poet")))


def test_an_adapter_that_has_changed_is_read_again(tiny_model, place, trained):
    backend = make(tiny_model, place)
    before = asyncio.run(backend.generate(ask("poet"))).text
    other = asyncio.run(backend.generate(ask("clerk"))).text

    shutil.rmtree(place / "poet")
    shutil.copytree(trained / "clerk", place / "poet")

    assert before != asyncio.run(backend.generate(ask("poet"))).text == other


@pytest.mark.parametrize(
    ("model", "near"), [("tiny:poem", "did you mean 'poet'"), ("poets", "did you mean 'tiny:poet'"), ("other:poet", "served: tiny")]
)  # fmt: skip
def test_an_unknown_name_is_404_with_the_near_one(tiny_model, place, model, near):
    with pytest.raises(NotFound, match=near) as caught:
        asyncio.run(make(tiny_model, place).generate(ask(model)))
    assert caught.value.http_status == 404
    assert caught.value.details["param"] == "model"


def test_adapters_of_another_base_or_kind_are_refused(tiny_model, place):
    (place / "clerk" / "stead.json").write_text(json.dumps({"base": "x", "base_hash": "0" * 64}))
    train(tiny_model, place / "direct", 3, dora=True)
    backend = make(tiny_model, place)

    with pytest.raises(ModelError, match="was trained on 'x'") as wrong:
        asyncio.run(backend.generate(ask("tiny:clerk")))
    with pytest.raises(ModelError, match="DORA") as other:
        asyncio.run(backend.generate(ask("tiny:direct")))

    assert wrong.value.code == "wrong-base"
    assert other.value.code == "adapter-unsupported"
