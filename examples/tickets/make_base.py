"""Make the demo's base: a corpus, a tokenizer, a small Llama with random weights, and `stead train` on top.

    python examples/tickets/make_base.py WORK_DIR OUT_DIR

Knows nothing about tickets: the corpus is invented office text that never holds a ticket's schema or a held-out entity. The
tokenizer learns no merge over a space and none over a digit, so a name is cut into the same pieces wherever it stands: a
model of this size can then copy it. It ships in the GPT-2 form that llama.cpp knows.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def texts(path: Path) -> Iterator[str]:
    """Yield the documents without digits and markers."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield re.sub(r"[0-9]|<\|im_(?:start|end)\|>", "", json.loads(line)["text"])


def tokenizer(path: Path, vocab: int) -> PreTrainedTokenizerFast:
    """Train byte-level BPE whose merges never cross a space or a digit."""
    bpe = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(" ", behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts(path), trainer)
    bpe.pre_tokenizer = bytes_  # the same pieces: no merge begins with a space
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT
    return made


def build(made: PreTrainedTokenizerFast, vocab: int) -> LlamaForCausalLM:
    """Return a Llama with random weights: 4 layers of 256, about 3.7M parameters."""
    set_seed(0)
    shape = LlamaConfig(
        vocab_size=vocab,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=made.bos_token_id,
        eos_token_id=made.eos_token_id,
        pad_token_id=made.pad_token_id,
    )
    return LlamaForCausalLM(shape)


def main() -> None:
    """Write the corpus, the random model, and pretrain it with stead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=3200)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    path, start, run = (arguments.work / name for name in ("corpus.jsonl", "start", "run"))
    with path.open("w", encoding="utf-8") as file:
        for text in corpus.documents(arguments.documents, seed=1):
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    made = tokenizer(path, arguments.vocab)
    build(made, arguments.vocab).save_pretrained(start)
    made.save_pretrained(start)
    options = (
        f"--model {start} --data {path} --method pretrain --adapter full --out {run} --max-steps {arguments.steps} "
        "--batch-tokens 2048 --max-length 256 --eval-share 0.002 --lr 0.002 --dtype bf16 -s trainer.weight_decay=0.1 "
        "-s trainer.betas=[0.9,0.95] -s trainer.warmup=100"
    )
    subprocess.run([sys.executable, "-m", "stead", "train", *options.split()], check=True)
    keep = {"manifest.json", "stead.json"}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for found in sorted((run / "final").iterdir()):
        if found.is_file() and found.name not in keep:
            shutil.copy2(found, arguments.out / found.name)


if __name__ == "__main__":
    main()
