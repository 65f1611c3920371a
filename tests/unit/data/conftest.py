"""A tiny model folder with a byte-level tokenizer, and the real data sets where they are present."""

import json
import os
from pathlib import Path

import pytest

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]


def write_model(folder: Path, template: str | None = CHATML, *, adds_bos: bool = False) -> Path:
    """Write tokenizer files: 256 bytes and five specials, so that any text has exact offsets."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*SPECIALS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            "<s> $A", special_tokens=[("<s>", 0)]
        )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(
        json.dumps(
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "eos_token_id": 1}
        )
    )
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def make_model():
    return write_model


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real data sets: $STEAD_TEST_DATA, else `../shared/data` beside a checkout."""
    here = Path(__file__).resolve()
    places = [p / "shared" / "data" for p in here.parents]
    if "STEAD_TEST_DATA" in os.environ:
        places.insert(0, Path(os.environ["STEAD_TEST_DATA"]))
    found = next((p for p in places if (p / "gsm8k_train.jsonl").is_file()), None)
    if found is None:
        pytest.skip("not run: the real data sets are not beside this checkout")
    return found


@pytest.fixture
def write(tmp_path):
    def run(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return run
