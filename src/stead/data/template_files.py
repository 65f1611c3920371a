"""Where a model folder keeps its chat template and its special tokens.

Knows nothing about rendering. Reads JSON and text only; nothing of the folder is run.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from stead.core.errors import ModelError

_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
)

CHATML = """\
{%- if tools %}{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- 'Functions:\\n' }}{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}
{{- '<|im_end|>\\n' }}{%- endif %}
{%- for m in messages %}
{%- if not (tools and loop.first and m.role == 'system') %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' %}{% generation %}{{- m.content }}
{%- for call in m.tool_calls %}{{- '<tool_call>' + call.function | tojson + '</tool_call>' }}{%- endfor %}
{{- '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}
{%- else %}{{- m.content }}{{- '<|im_end|>\\n' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

PLAIN = """\
{%- if tools %}{{- 'functions:\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}{{- '\\n' }}{%- endif %}
{%- for m in messages %}
{{- m.role + ':\\n' }}
{%- if m.role == 'assistant' %}{% generation %}{{- m.content }}
{%- for call in m.tool_calls %}{{- '<tool_call>' + call.function | tojson + '</tool_call>' }}{%- endfor %}
{{- eos_token }}{% endgeneration %}{{- '\\n\\n' }}
{%- else %}{{- m.content }}{{- '\\n\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'assistant:\\n' }}{%- endif %}"""


@dataclass(frozen=True, slots=True)
class TemplateFiles:
    """What a folder says: named template sources, special tokens by role, all special strings."""

    sources: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    specials: frozenset[str] = frozenset()


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file is {}. Raises: ModelError("bad-json") with the file."""
    if not path.is_file():
        return {}
    try:
        value = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError("bad-json", f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError("bad-json", f"{str(path)!r} holds a {type(value).__name__}, not an object")
    return value


def token_text(value: Any) -> str | None:  # Any: a token as text or as a JSON object
    """Return the text of a special token, written either way tokenizer files write it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def read_template_files(folder: Path) -> TemplateFiles:
    """Read template and special tokens of a model folder.

    Order, as in transformers: `chat_template.jinja` (and `additional_chat_templates/*.jinja`), then
    `chat_template.json`, then `chat_template` in `tokenizer_config.json` (text or a list of named ones).
    """
    config = read_object(folder / "tokenizer_config.json")
    more = read_object(folder / "special_tokens_map.json")
    tokens = {name: text for name in _TOKENS if (text := token_text(more.get(name))) is not None}
    tokens |= {name: text for name in _TOKENS if (text := token_text(config.get(name))) is not None}
    return TemplateFiles(_sources(folder, config), tokens, _specials(folder, config, tokens))


def _sources(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    found = _named(config.get("chat_template"))
    found |= _named(read_object(folder / "chat_template.json").get("chat_template"))
    files = {"default": folder / "chat_template.jinja"}
    files |= {
        path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))
    }
    for name, path in files.items():
        if path.is_file():
            try:
                found[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ModelError("bad-template", f"{str(path)!r} is not UTF-8: {error}") from error
    return found


def _named(value: Any) -> dict[str, str]:  # Any: text, or [{"name", "template"}]
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, dict):
        return {str(k): v for k, v in value.items() if isinstance(v, str)}
    if not isinstance(value, list):
        return {}
    return {
        str(one["name"]): str(one["template"])
        for one in value
        if isinstance(one, dict) and {"name", "template"} <= one.keys()
    }


def _specials(folder: Path, config: dict[str, Any], tokens: dict[str, str]) -> frozenset[str]:
    found = set(tokens.values())
    listed = config.get("added_tokens_decoder")
    added = list(listed.values()) if isinstance(listed, dict) else []
    if not added:  # newer folders keep them in tokenizer.json only
        inside = read_object(folder / "tokenizer.json").get("added_tokens")
        added = inside if isinstance(inside, list) else []
    found |= {
        text
        for one in added
        if isinstance(one, dict) and one.get("special") and (text := token_text(one)) is not None
    }
    return frozenset(text for text in found if text.strip())


def default_source(files: TemplateFiles) -> str:
    """Return the template for a folder that has none: ChatML if its tokens exist, else plain text."""
    return CHATML if {"<|im_start|>", "<|im_end|>"} <= files.specials else PLAIN
