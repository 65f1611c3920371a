"""A Gemma 2B `.sbs` file in gemma.cpp's layout of 2024 that takes 40 KB on disk, and its tokenizer.

All weights are zero but a few rows of the embedding, which is also the output head: each row points to
the next one three times as strongly as to itself. So the real gemma.cpp answers "Hello from gemma".
"""

import struct

import numpy as np

D, VOCABULARY, LAYERS, F = 2048, 256128, 18, 16384
QKV = 3 * 8 * 256 * D  # of the version that pygemma 0.1.3 was built from
ANSWER = ("Hello", "▁from", "▁gemma")
_FIRST = 6  # 0 pad, 1 end, 2 begin, 3 unknown, 4 and 5 the marks of a turn


def blobs(layers=LAYERS):
    found = [("Bc_embedding", VOCABULARY * D * 2), ("Bc_final_norm", D * 2)]
    for i in range(layers):
        found += [
            (f"Bpre_ff_ns_{i}", D * 2), (f"$gating_ein_{i}", 2 * F * D), (f"$linear_w_{i}", F * D),
            (f"$qkv_ein_{i}", QKV), (f"$att_ein_{i}", 8 * 256 * D), (f"Bpre_att_ns_{i}", D * 2),
        ]  # fmt: skip
    return found


def write_sbs(path, *, layers=LAYERS, last=0):
    """Write the file, sparse; `last` is the token that every prompt ends with."""
    names = blobs(layers)
    offset = padded(16 + 32 * len(names))
    table = []
    for _, size in names:
        table.append((offset, size))
        offset = padded(offset + size)
    chain = [last, *range(_FIRST, _FIRST + len(ANSWER)), 1]
    with open(path, "wb") as file:
        file.truncate(offset)
        file.write(struct.pack("<IIQ", 0x0A534253, len(names), offset))
        for name, _ in names:
            file.write(name.encode().ljust(16, b"\0"))
        for entry in table:
            file.write(struct.pack("<QQ", *entry))
        for k, token in enumerate(chain):
            row = np.zeros(D, np.float32)
            row[max(0, k - 1) : k + 1] = 3.0 ** (k - len(chain))
            file.seek(table[0][0] + token * D * 2)
            file.write((row.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    return path


def padded(size):
    return -(-size // 256) * 256


def write_tokenizer(path):
    """Train a small SentencePiece tokenizer with Gemma's marks; return the token of a line end."""
    import io

    import sentencepiece

    text = [
        "the quick brown fox jumps over the lazy dog",
        "what is two plus two",
        "user model",
    ] * 20
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=made, vocab_size=330, byte_fallback=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, hard_vocab_limit=False, add_dummy_prefix=False,
        user_defined_symbols=["<start_of_turn>", "<end_of_turn>", *ANSWER],
        remove_extra_whitespaces=False, normalization_rule_name="identity", minloglevel=2,
    )  # fmt: skip
    path.write_bytes(made.getvalue())
    return sentencepiece.SentencePieceProcessor(model_file=str(path)).encode("model\n")[-1]
