"""Train the demo's base model: BPE tokenizer, then a small Llama on the packed corpus with a cosine schedule.

    python corpus.py corpus.jsonl --documents 120000
    python make_base.py corpus.jsonl OUT_DIR --layers 4 --inter 768 --steps 2600 --minutes 600

Plain recipe: AdamW, bf16 autocast, fixed blocks of packed documents, each document once. The tokenizer is trained on the
corpus with its digits in pairs, so a number is the same tokens with or without a space before it. The wall clock ends the schedule, so the bytes are not reproducible
unless --steps is given.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path

import fastattn  # noqa: F401  (registers "mathattn")
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def texts(corpus: Path) -> Iterator[str]:
    """The documents of the corpus."""
    with corpus.open(encoding="utf-8") as handle:
        for line in handle:
            yield json.loads(line)["text"]


def train_tokenizer(corpus: Path, vocab: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE; digits are shown to it in pairs on their own lines, so that it merges two at most, and no space."""

    def clean() -> Iterator[str]:
        for index, text in enumerate(texts(corpus)):
            if index >= 30000:
                return
            yield re.sub(r"[0-9]|<\|im_(?:start|end)\|>", "", text)

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        clean(),
        trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tok = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<pad>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tok.chat_template = CHAT
    return tok


def pack(corpus: Path, tok: PreTrainedTokenizerFast, length: int) -> torch.Tensor:
    """All documents, each ended by </s>, cut into blocks."""
    end = tok.convert_tokens_to_ids("</s>")
    flat: list[int] = []
    batch: list[str] = []

    def flush() -> None:
        for enc in tok.backend_tokenizer.encode_batch(batch):
            flat.extend(enc.ids)
            flat.append(end)
        batch.clear()

    for text in texts(corpus):
        batch.append(text)
        if len(batch) == 2000:
            flush()
    flush()
    blocks = len(flat) // length
    return torch.tensor(flat[: blocks * length], dtype=torch.int16).view(blocks, length)


def build(tok: PreTrainedTokenizerFast, args: argparse.Namespace) -> LlamaForCausalLM:
    """A fresh Llama of the given shape."""
    torch.manual_seed(args.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=args.vocab,
            hidden_size=args.hidden,
            intermediate_size=args.inter,
            num_hidden_layers=args.layers,
            num_attention_heads=args.hidden // 32,
            num_key_value_heads=args.hidden // 64,
            head_dim=32,
            max_position_embeddings=1024,
            rope_theta=10000.0,
            tie_word_embeddings=True,
            bos_token_id=tok.bos_token_id,
            eos_token_id=tok.eos_token_id,
            pad_token_id=tok.pad_token_id,
            initializer_range=args.init,
            attn_implementation="mathattn",
        )
    )


def train(model: LlamaForCausalLM, blocks: torch.Tensor, args: argparse.Namespace) -> None:
    """One pass over the blocks, shortened to the time limit; the learning rate follows progress in time or steps."""
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    optim = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr,
        betas=(0.9, 0.95),
        fused=True,
    )
    order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(args.seed))
    start, step, last = time.time(), 0, 0.0
    limit = args.steps or len(blocks) // args.batch
    while (
        step < limit
        and (progress := max(step / limit, (time.time() - start) / (60 * args.minutes))) < 1
    ):
        rate = (
            args.lr
            * min(1, (step + 1) / 100)
            * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        for group in optim.param_groups:
            group["lr"] = rate
        ids = blocks[order[step * args.batch : (step + 1) * args.batch]].long()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids, use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        optim.zero_grad(set_to_none=True)
        step, last = step + 1, loss.item() if step < 1 else 0.95 * last + 0.05 * loss.item()
        if step % 100 == 0 or step == 1:
            spent = time.time() - start
            print(
                f"step {step}/{limit} {progress:.0%} loss {last:.3f} {step * ids.numel() / spent:.0f} tok/s {spent:.0f}s",
                flush=True,
            )


def main() -> None:
    """Tokenizer, blocks, training, and the model in Hugging Face format as bf16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    for name, default in (
        ("vocab", 2048),
        ("hidden", 256),
        ("inter", 768),
        ("layers", 4),
        ("length", 256),
        ("batch", 16),
        ("steps", 0),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--init", type=float, default=0.06)
    parser.add_argument("--minutes", type=float, default=25.0)
    args = parser.parse_args()
    torch.set_num_threads(2)
    tok = train_tokenizer(args.corpus, args.vocab)
    blocks = pack(args.corpus, tok, args.length)
    model = build(tok, args)
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {blocks.numel() / 1e6:.1f}M tokens",
        flush=True,
    )
    train(model, blocks, args)
    model.generation_config = GenerationConfig(
        bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
        do_sample=False,
        max_new_tokens=160,
    )
    model.to(torch.bfloat16).save_pretrained(args.out)
    tok.save_pretrained(args.out)


if __name__ == "__main__":
    main()
