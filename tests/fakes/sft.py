"""The tiny model and rows that both sides of the SFT parity test start from."""

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 128


def tiny_model():
    """Return a two-layer Llama with numbers from a seed."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        tie_word_embeddings=True, initializer_range=0.1,
    )  # fmt: skip
    return LlamaForCausalLM(config).float()


def tiny_rows(count=64):
    """Return (tokens, mask) pairs: an "answer" that repeats its "question"."""
    draw = random.Random(11)
    rows = []
    for _ in range(count):
        half = [draw.randrange(2, VOCABULARY) for _ in range(draw.randrange(4, 20))]
        rows.append((half + half + [1], [0] * len(half) + [1] * (len(half) + 1)))
    return rows
