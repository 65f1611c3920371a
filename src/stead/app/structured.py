"""Answers of a given shape: a pydantic model's schema goes out, a checked value comes back.

Knows nothing about who answers. An answer that does not fit is told so and asked for once more.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec.structs import replace
from pydantic import BaseModel, ValidationError

from stead.core.errors import BackendError
from stead.messages import GenerateRequest, Message, Reply

M = TypeVar("M", bound=BaseModel)
Ask = Callable[[GenerateRequest], Awaitable[Reply]]
_EXCERPT = 500  # letters of an answer in an error


def response_format(model: type[BaseModel]) -> dict[str, Any]:  # Any: JSON schema
    """Return the `response_format` that asks for a model's shape.

    `strict` is said only where every field is required, as that mode demands.
    """
    schema = model.model_json_schema()
    strict = _close(schema)
    return {
        "type": "json_schema",
        "json_schema": {"name": model.__name__[:64], "schema": schema, "strict": strict},
    }


def _close(schema: Any) -> bool:  # Any: JSON
    """Forbid unknown keys everywhere; return whether all keys are required everywhere."""
    strict = True
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            schema.setdefault("additionalProperties", False)
            strict = set(schema.get("required", ())) == set(properties)
        strict &= schema.get("additionalProperties", False) is False
        inner = list(schema.values())
    else:
        inner = schema if isinstance(schema, list) else []
    below = [_close(value) for value in inner]  # all of them: each is changed
    return strict and all(below)


async def ask_for(ask: Ask, request: GenerateRequest, model: type[M]) -> M:
    """Ask for an answer of a model's shape; an answer that does not fit is mended once.

    Raises: BackendError("bad-output") when the second one does not fit either.
    """
    request = replace(request, response_format=response_format(model))
    reply = await ask(request)
    try:
        return model.model_validate_json(_json(reply.text))
    except ValidationError as error:
        asked = request.messages if request.messages is not None else ()
        told = _words(error)
        mended = (Message("assistant", reply.text), Message("user", told))
        request = replace(request, messages=(*asked, *mended))
    reply = await ask(request)
    try:
        return model.model_validate_json(_json(reply.text))
    except ValidationError as error:
        raise BackendError(
            "bad-output",
            f"{reply.model!r} gave no {model.__name__} in two answers: {_first(error)}",
            text=reply.text[:_EXCERPT],
        ) from error


def _json(text: str) -> str:
    """Return an answer without the fence that models like to put around JSON."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].strip().removeprefix("json").strip()
    return text


def _words(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"- {'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults[:10]]
    return (
        "Your answer does not fit the schema:\n"
        + "\n".join(lines)
        + "\nAnswer again with the corrected JSON only."
    )


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
