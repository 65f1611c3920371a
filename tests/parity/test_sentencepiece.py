"""SentencePiece-style tokenizers reach llama.cpp with the same ids, or are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stead.core.errors import ExportError
from stead.exporting.parity import run_parity
from stead.exporting.run import run_export

pytest.importorskip("xllamacpp")
PIECES = ["th", "the", "in", "er", "▁t", "▁the", "an", "▁a", "qu", "ing", "▁w", "om", "▁tw", "▁two"]
PREPEND = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def _tokenizer() -> dict[str, Any]:
    """Merges as transformers derives them from scores: by piece, then by its halves."""
    letters = [chr(c) for c in range(33, 127)] + ["▁", "é", "好"]
    names = ["<unk>", "<s>", "</s>", *[f"<0x{b:02X}>" for b in range(256)], *PIECES, *letters]
    vocab = {name: i for i, name in enumerate(names)}
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in PIECES
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]
    special = [
        {"id": i, "content": names[i], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True} for i in range(3)
    ]  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": PREPEND, "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges},
    }  # fmt: skip


def _model(folder: Path, make_model: Any, change: dict[str, Any]) -> Path:
    tokenizer = _tokenizer()
    tokenizer.update({k: v for k, v in change.items() if k != "merges"})
    if "merges" in change:
        tokenizer["model"]["merges"] = change["merges"](tokenizer["model"]["merges"])
    source = make_model(vocab_size=len(tokenizer["model"]["vocab"]), eos_token_id=2, bos_token_id=1)
    shutil.copytree(source, folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(names | {"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_a_byte_fallback_tokenizer_gives_the_same_ids(make_model: Any, tmp_path: Path) -> None:
    model = _model(tmp_path / "m", make_model, {})
    run_export(str(model), str(tmp_path / "m.gguf"), quant="f32")

    found = run_parity(str(model), str(tmp_path / "m.gguf"), limit=8)

    assert found["reasons"] == []


REFUSED = {
    "a space only before the first word": {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False,
        },
    },
    "merges no score orders": {"merges": lambda merges: merges[1:3] + merges[:1] + merges[3:] + merges[1:2]},
    "a piece that may not be joined": {"merges": lambda merges: merges[:-1]},
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_scores_cannot_say_is_refused(case: str, make_model: Any, tmp_path: Path) -> None:
    model = _model(tmp_path / "m", make_model, REFUSED[case])

    with pytest.raises(ExportError) as caught:
        run_export(str(model), str(tmp_path / "m.gguf"), quant="f32")

    assert caught.value.code == "tokenizer-feature"
    assert not (tmp_path / "m.gguf").exists()
