"""A reward model is read back from its folder and says what training computed."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.fakes import preference, training

from stead.app.choosing import Wanted, choose
from stead.core.errors import DataError, ModelError
from stead.core.paths import Home
from stead.data.examples import Encoder
from stead.data.row import Row
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.exporting.run import run_export
from stead.messages import Message
from stead.models.reward import RewardModel
from stead.pipeline.evaluate import subject


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=["lora", "full"])
def run(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # fmt: skip
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("reward")
    data = preference.prepared_pairs(folder / "data", preference.pairs(12), preference.pairs(5))
    training.run(
        tiny_model, data, folder / "run", method="reward", adapter=request.param, lr=1e-3,
        adapter_config={"dropout": 0.0} if request.param == "lora" else {},
    )  # fmt: skip
    return folder / "run"


def test_tokens_get_the_rewards_that_training_saw(run: Path) -> None:
    """The held-out loss of the run, computed again from the folder's rewards."""
    rows = [row for pair in preference.pairs(5) for row in pair]
    model = RewardModel.open(run, dtype="fp32", device="cpu")

    found = torch.tensor(model.score_tokens([ids for ids, _ in rows])).view(-1, 2)
    model.close()

    loss = -torch.nn.functional.logsigmoid(found[:, 0] - found[:, 1]).mean()
    expected = json.loads((run / "result.json").read_text())["eval_loss"]
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_conversation_is_judged_at_its_last_trained_token(run: Path, tiny_model: Path) -> None:
    turns = (Message("user", "what is two plus two?"), Message("assistant", "four."))
    longer = (*turns, Message("user", "the lazy dog?"), Message("assistant", "a fox jumps."))
    model = RewardModel.open(run / "final", dtype="fp32", device="cpu")
    encoder = Encoder(TextTokenizer.open(tiny_model), ChatTemplate.open(tiny_model))
    ids = []
    for one in (turns, longer):
        rendered = encoder.render(Row("labelled", "here", messages=one, label=True))["tokens"]
        text = rendered.text[: rendered.spans[-1][1]]  # the answer ends the row, nothing after it
        ids.append(encoder.tokenizer.encode(text).ids)

    found = model.score([turns, longer])

    assert found == pytest.approx(model.score_tokens(ids), abs=1e-5)
    assert found[0] != found[1]
    assert model.score([]) == []
    with pytest.raises(DataError):
        model.score([turns[:1]])


def test_a_model_without_a_head_is_no_reward_model(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no reward_head") as caught:
        RewardModel.open(tiny_model)

    assert caught.value.code == "no-reward-head"


def test_a_reward_model_is_not_asked_for_words(run: Path, tmp_path: Path) -> None:
    """Its words are those of a model that was trained to score: every door refuses, and says how to score."""
    for ask in (
        lambda: choose(Wanted(str(run)), Home(tmp_path)),
        lambda: choose(Wanted(str(run / "final")), Home(tmp_path)),
        lambda: subject(str(run), None),
        lambda: run_export(str(run), str(tmp_path / "x.gguf"), format="gguf"),
    ):
        with pytest.raises(ModelError, match="is a reward model") as found:
            ask()

        assert found.value.code == "reward-model"
        assert not (tmp_path / "x.gguf").exists()
    python, *rest = shlex.split(str(found.value.hint))
    assert python == "python"
    done = subprocess.run([sys.executable, *rest], check=True, capture_output=True, text=True)  # fmt: skip
    assert isinstance(json.loads(done.stdout)[0], float)


def test_a_merged_reward_model_scores_as_before(run: Path, tmp_path: Path) -> None:
    chat = [Message("user", "two plus two"), Message("assistant", "four")]
    run_export(str(run), str(tmp_path / "merged"), format="merged")

    before, after = (RewardModel.open(f, dtype="fp32", device="cpu") for f in (run, tmp_path / "merged"))  # fmt: skip

    assert after.score([chat]) == pytest.approx(before.score([chat]), abs=1e-5)  # summed otherwise


def test_a_head_of_another_size_is_refused(run: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import save_file

    folder = shutil.copytree(run / "final", tmp_path / "copy")
    save_file({"weight": torch.zeros(1, 7)}, folder / "reward_head.safetensors")

    with pytest.raises(ModelError, match="7 inputs"):
        RewardModel.open(folder)
