"""Make a small Llama with random weights and its own byte-level BPE, the same bytes for the same seed.

Knows nothing about training. The folder is whole or not there. Try: `stead model new DIR --text FILE`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stead.core import manifest, seeds
from stead.core.errors import ConfigError, DataError
from stead.core.events import Emit, Note, Saved, Started, ignore
from stead.core.lazy import lazy
from stead.models import corpus
from stead.models.presets import SPECIAL, Sizes, sizes

if TYPE_CHECKING:
    import tokenizers
    import torch
    import transformers
else:
    tokenizers = lazy("tokenizers", extra="train")
    torch = lazy("torch", extra="train")
    transformers = lazy("transformers", extra="train")

STAGE = "new"
KIND = "model"
# The line ends are written as values, because every engine trims a newline after a block.
CHAT_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\nTools:\\n' }}"
    "{% for t in tools %}{{ (t | tojson) + '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] or '' }}"
    "{% for c in m['tool_calls'] or [] %}"
    "{{ '<tool_call>' + (c['function'] | tojson) + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ (m['content'] or '') + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def new_model(  # noqa: PLR0913 - the verb's JSON arguments, each a number of the shape
    out: str,
    *,
    preset: str = "tiny",
    text: list[str],
    vocab_size: int | None = None,
    seed: int = 42,
    hidden: int | None = None,
    layers: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    intermediate: int | None = None,
    context: int | None = None,
    dtype: str = "fp32",
    emit: Emit = ignore,
) -> dict[str, Any]:
    """Make a model folder at `out` and return its facts in JSON values.

    Raises: ConfigError("out-not-empty" | "unknown-preset" | "bad-size" | "unknown-dtype");
    DataError("no-text") when the files are empty; NotFound for a text file.
    """
    target = Path(out)
    empty_target(target)
    shape = sizes(
        preset,
        {
            "hidden": hidden, "layers": layers, "heads": heads, "kv_heads": kv_heads,
            "intermediate": intermediate, "context": context, "vocab": vocab_size,
        },
    )  # fmt: skip
    precision = _precision(dtype)
    emit(Started(stage=STAGE, total=2, unit="part", info={"preset": preset}))
    tokenizer = train_tokenizer([Path(t) for t in text], shape)
    if len(tokenizer) < shape.vocab:
        message = f"the text gives {len(tokenizer)} tokens, not {shape.vocab}"
        emit(Note(stage=STAGE, message=message, code="small-vocabulary"))
    model = build(shape, tokenizer, seed).to(precision)
    meta = {"preset": preset, "seed": seed, "dtype": dtype, "parameters": model.num_parameters()}
    written = _write(target, model, tokenizer, meta)
    emit(Saved(stage=STAGE, path=str(target), what="model"))
    return meta | {"out": str(target), "vocab_size": len(tokenizer), "hash": written.hash}


def _write(
    target: Path,
    model: "transformers.PreTrainedModel",
    tokenizer: "transformers.PreTrainedTokenizerBase",
    meta: dict[str, Any],  # Any: JSON values
) -> manifest.Manifest:
    def fill(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # the weights come out of a temporary file that only we may read

    if target.is_dir():
        target.rmdir()
    return manifest.commit(target, KIND, fill, meta)


def empty_target(target: Path) -> None:
    """Refuse a target that holds anything. Raises: ConfigError("out-not-empty")."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise ConfigError(
            "out-not-empty",
            f"{str(target)!r} exists already; nothing is overwritten",
            hint=f"stead model new {target}-2",
        )


def _precision(dtype: str) -> "torch.dtype":
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if dtype not in known:
        raise ConfigError(
            "unknown-dtype", f"there is no dtype {dtype!r} (known: {', '.join(known)})"
        )
    return known[dtype]


def train_tokenizer(paths: list[Path], shape: Sizes) -> "transformers.PreTrainedTokenizerFast":
    """Train a byte-level BPE on the files: all 256 bytes, the special tokens, a chat template.

    Raises: DataError("no-text") when there is nothing to learn from.
    """
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=shape.vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    seen = [0]

    def counted() -> Any:  # Any: an iterator of text
        for block in corpus.texts(paths):
            seen[0] += len(block)
            yield block

    bpe.train_from_iterator(counted(), trainer)
    if not seen[0]:
        raise DataError("no-text", f"there is no text in {[str(p) for p in paths]}")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",  # noqa: S106 - a token of text, no secret
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        model_max_length=shape.context,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build(
    shape: Sizes, tokenizer: "transformers.PreTrainedTokenizerFast", seed: int
) -> "transformers.LlamaForCausalLM":
    """Return a Llama of this shape with weights drawn from the seed: N(0, 0.02²), norms at 1.

    The numbers come from a generator of their own, parameter by parameter in the order of names,
    so they depend on nothing else. Source of the deviation: arXiv:1810.04805, section A.2.
    """
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):  # the library's own start values are not kept
        model = transformers.LlamaForCausalLM(config)
    numbers = torch.Generator().manual_seed(seeds.stream(seed, 0, "new-model"))
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.dim() == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, config.initializer_range, generator=numbers)
    return model
