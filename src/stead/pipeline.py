"""The line that makes models, one function per stage: plan → prepare → load → fit → evaluate → export.

Knows nothing about surfaces, databases or processes; importable from a notebook. Each function
takes plain values and returns a value; `VERBS` are the same functions for the worker, JSON in and
JSON out.
"""

from collections.abc import Callable
from typing import Any

VERBS: dict[str, Callable[..., dict[str, Any]]] = {}
