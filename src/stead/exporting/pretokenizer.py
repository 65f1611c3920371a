"""Find llama.cpp's name for a tokenizer's pre-tokenizer by what it does, not by what it is called.

Knows nothing about vocabularies or files. A reference for each known name is built from its public
definition and must cut a probe text exactly as the given one does; an unknown one is refused,
because a GGUF with the wrong name tokenizes other ids without any error.
Source of the names: llama.cpp src/llama-vocab.cpp, `llm_tokenizer_bpe`.
"""

import json
from typing import TYPE_CHECKING, Any

from stead.core.errors import ExportError
from stead.core.lazy import lazy

if TYPE_CHECKING:
    import tokenizers
else:
    tokenizers = lazy("tokenizers", extra="data")

_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _split(pattern: str) -> dict[str, Any]:
    split = {
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip
    return {"type": "Sequence", "pretokenizers": [split, _BYTES]}


# llama.cpp's name -> (definition, does its BPE take whole words from the vocabulary before merging).
KNOWN: dict[str, tuple[dict[str, Any], bool]] = {
    "gpt-2": (_BYTES | {"use_regex": True}, False),
    "llama-bpe": (_split(_CUT % r"\p{N}{1,3}"), True),
    "qwen2": (_split(_CUT % r"\p{N}"), False),
    "smollm": (
        {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                _BYTES | {"use_regex": True},
            ],
        },
        False,
    ),
}
# Each piece tells two of the known apart, or a likely variant from them.
PROBE = (
    "Hello world  twice   thrice\tTab \t mixed\n\nlines\r\n\r\n  indented\n \n\n x \u00a0nbsp\u3000wide "
    "I'm you're WE'LL they'd it's IT'S 'quoted' o'clock 1 12 123 1234 12345 3.14159 1,000,000 a1b22c333 "
    "x=y+z; foo_bar(baz)[0] -> {k: 'v'} // !!! ??? ... \u2026 <tag attr=\"1\"> a/b\\c #1 @me $5 50% "
    "\u00dcber stra\u00dfe na\u00efve \u00e9t\u00e9 e\u0301 \u0414\u0430 \u4f60\u597d\uff0c\u4e16\u754c "
    "\u3053\u3093\u306b\u3061\u306f \uc548\ub155 \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 "
    "\u0661\u0662\u0663 \u2167 \u00bd\u00b2 \U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 "
    "camelCase HTTPServer /path/to/\n/x trailing  \n   "
)


def name_of(tokenizer: dict[str, Any]) -> str:  # Any: tokenizer.json
    """Return llama.cpp's name for the pre-tokenizer of a byte-level BPE tokenizer.json.

    Raises: ExportError("unknown-pretokenizer") with what was found.
    """
    given = tokenizer.get("pre_tokenizer")
    whole_words = bool(tokenizer["model"].get("ignore_merges"))
    pieces = None if given is None else cut(given)
    for name, (definition, takes_words) in KNOWN.items():
        if pieces == cut(definition) and whole_words == takes_words:
            return name
    text = json.dumps(given, ensure_ascii=False)
    raise ExportError(
        "unknown-pretokenizer",
        f"no pre-tokenizer that llama.cpp knows cuts text as this one does "
        f"(ignore_merges={whole_words}): {text[:300]}",
        known=sorted(KNOWN),
    )


def cut(definition: dict[str, Any]) -> list[str]:
    """Return the pieces the probe text is cut into by a tokenizer.json pre-tokenizer."""
    shell: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": definition, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }  # fmt: skip
    made = tokenizers.Tokenizer.from_str(json.dumps(shell))
    return [piece for piece, _ in made.pre_tokenizer.pre_tokenize_str(PROBE)]
