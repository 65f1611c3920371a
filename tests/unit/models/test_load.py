"""Loading a model folder: choices with reasons, and every broken folder by its typed error."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import make_tiny_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from stead.core import lazy
from stead.core.errors import ModelError, NotFound, SteadError
from stead.models.load import choose_attention, choose_device, choose_dtype, load_model, supported


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def code(folder: Path) -> str:
    with pytest.raises(SteadError) as caught:
        load_model(folder, dtype="fp32", device="cpu")
    return caught.value.code


@pytest.mark.spec("002-013", "003-031", "003-033", "003-008")
def test_choices_are_recorded_with_their_reason(tiny_model: Path) -> None:
    loaded = load_model(tiny_model, device="cpu")

    assert loaded.meta["device"] == {"value": "cpu", "reason": "asked for"}
    assert loaded.meta["dtype"]["value"] in ("bfloat16", "float32")
    assert "needs CUDA" in loaded.meta["attention"]["reason"]
    assert loaded.tokenizer is not None


@pytest.mark.spec("003-036")
def test_asked_for_choices_win() -> None:
    cpu = torch.device("cpu")

    assert choose_dtype("fp16", cpu, None) == (torch.float16, "asked for")
    assert choose_attention("eager", cpu, torch.float32) == ("eager", "asked for")
    assert choose_device("cpu")[0] == cpu
    with pytest.raises(ModelError):
        choose_device("tpu")
    with pytest.raises(ModelError):
        choose_dtype("int3", cpu, None)


@pytest.mark.parametrize(("own", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_bf16_that_a_card_only_imitates_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, own: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: own or including_emulation)  # fmt: skip

    assert choose_dtype("auto", torch.device("cuda"), None)[0] == dtype


def test_flash_attention_is_for_16_bits_and_for_families_that_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lazy, "installed", lambda name: name == "flash_attn")
    cuda = torch.device("cuda")

    assert choose_attention("auto", cuda, torch.bfloat16)[0] == "flash_attention_2"
    assert choose_attention("auto", cuda, torch.float32)[0] == "sdpa"
    assert supported(LlamaConfig(architectures=["LlamaForCausalLM"]), "flash_attention_2", "")[0] == "flash_attention_2"  # fmt: skip
    assert supported(LlamaConfig(architectures=["BloomForCausalLM"]), "flash_attention_2", "")[0] == "eager"  # fmt: skip


def test_a_build_without_cuda_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("not run: CUDA is here")

    with pytest.raises(ModelError, match="'cuda' is not there") as caught:
        choose_device("cuda")

    assert (torch.__version__ in caught.value.message) == (torch.version.cuda is None)


def test_missing_folder() -> None:
    with pytest.raises(NotFound):
        load_model(Path("/nowhere"))


def test_missing_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()

    assert code(folder) == "no-tokenizer"


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])

    assert code(folder) in ("torn-weights", "weights-mismatch")


def test_pickle_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    assert code(folder) == "pickle-weights"


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()

    assert code(folder) == "no-weights"


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    change(folder, architectures=["BertModel"], model_type="bert")

    assert code(folder) == "not-causal-lm"


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    change(folder, hidden_size=128, head_dim=32)

    assert code(folder) == "weights-mismatch"


def test_missing_layers_are_refused(folder: Path) -> None:
    change(folder, num_hidden_layers=3)

    assert code(folder) == "weights-mismatch"


@pytest.mark.spec("003-035")
def test_loading_takes_little_more_than_the_weights(tmp_path: Path) -> None:
    folder, size = tmp_path / "m", 64 << 20
    small = LlamaConfig(
        hidden_size=512, intermediate_size=1536, num_hidden_layers=5, num_attention_heads=8,
        vocab_size=320,
    )  # fmt: skip
    LlamaForCausalLM(small).to(torch.float32).save_pretrained(folder)
    make_tiny_tokenizer(folder)
    code = (
        "import sys\nfrom pathlib import Path\nfrom stead.core import usage\nimport stead.models.load as m\n"
        "import transformers.models.llama.modeling_llama, psutil\n"
        "begun = psutil.Process().memory_info().rss\n"
        "m.load_model(Path(sys.argv[1]), dtype='fp32', device='cpu')\n"
        "print(usage.read().peak_bytes - begun)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )

    stored = (folder / "model.safetensors").stat().st_size
    assert stored > size
    assert int(done.stdout.split()[-1]) < 1.5 * stored  # twice: a copy in memory beside the file
