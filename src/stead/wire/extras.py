"""Which protocol knows which of the fields that travel in `GenerateRequest.extra`.

Knows nothing about values. A name that no row has is passed on as it came: its user knows the vendor.
"""

from typing import Any

_CHAT = frozenset({
    "parallel_tool_calls", "reasoning_effort", "metadata", "store", "service_tier", "prediction",
    "verbosity", "safety_identifier", "prompt_cache_key", "web_search_options", "cache_prompt",
})  # fmt: skip
EXTRAS: dict[str, frozenset[str]] = {
    "openai_chat": _CHAT,
    "openai_completions": frozenset({"suffix", "cache_prompt"}),
    "openai_responses": _CHAT - {"prediction", "web_search_options", "cache_prompt"}
    | {"reasoning_summary", "truncation", "max_tool_calls"},
    "anthropic": frozenset(
        {"parallel_tool_calls", "reasoning_effort", "service_tier", "thinking", "cache_control"}
    ),
    "ollama": frozenset({
        "keep_alive", "think", "reasoning_effort", "truncate", "shift", "num_ctx", "num_keep",
        "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap", "use_mlock", "typical_p", "tfs_z",
        "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline", "numa",
        "low_vram", "f16_kv", "vocab_only", "logits_all", "embedding_only", "draft_num_predict",
    }),
    "google": frozenset({"reasoning_effort", "thinkingConfig", "safetySettings", "cachedContent"}),
}  # fmt: skip
_KNOWN = frozenset[str]().union(*EXTRAS.values())


def foreign(protocol: str) -> frozenset[str]:
    """Return the names that only other protocols know."""
    return _KNOWN - EXTRAS[protocol]


def carried(extra: dict[str, Any], protocol: str) -> dict[str, Any]:  # Any: JSON values
    """Return the fields that a protocol carries."""
    lacks = foreign(protocol)
    return {k: v for k, v in extra.items() if k not in lacks} if extra else extra
