"""Make a chat template readable for engines that do not know `{% generation %}`.

Knows nothing about rendering. The training markers become `{% if true %}` … `{% endif %}` with the
same whitespace control, so that every byte of every rendering stays the same.
"""

import re

_MARK = re.compile(r"\{%(?P<left>[-+]?)\s*(?P<end>end)?generation\s*(?P<right>[-+]?)%\}")


def without_markers(source: str) -> str:
    """Return the template with its generation markers replaced by a condition that always holds."""

    def swap(match: re.Match[str]) -> str:
        word = "endif" if match["end"] else "if true"
        return f"{{%{match['left']} {word} {match['right']}%}}"

    return _MARK.sub(swap, source)
