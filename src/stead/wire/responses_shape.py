"""The answer object of the OpenAI Responses protocol, both directions, whole and in progress.

Knows nothing about streams. Source: the published OpenAPI description of the OpenAI API, schema
Response.
"""

from typing import Any

import msgspec
from msgspec import Struct

from stead.core.errors import BackendError, RateLimited, SteadError
from stead.messages import (
    Choice,
    Deviation,
    FinishReason,
    GenerateRequest,
    Message,
    Reply,
    Thought,
    ToolCall,
    Usage,
)
from stead.wire import openai_shape as shape
from stead.wire import seals
from stead.wire.dialect import status_of
from stead.wire.openai_errors import ErrorShape
from stead.wire.responses_items import ISSUER, ItemRead, item_text, item_thought

_REASONS: dict[FinishReason, str] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
_FINISH: dict[str | None, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}


class _InputDetails(Struct):
    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0


class _OutputDetails(Struct):
    reasoning_tokens: int | None = 0


class UsageShape(Struct):
    """`usage` of an answer."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


def write_usage(usage: Usage) -> UsageShape:
    """Return the wire shape of token counts."""
    return UsageShape(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        _InputDetails(usage.cached_tokens, usage.cache_write_tokens),
        _OutputDetails(usage.reasoning_tokens),
    )


def read_usage(found: UsageShape | None) -> Usage | None:
    """Return token counts; None when they are missing or cannot be true (negative)."""
    if found is None or min(found.input_tokens, found.output_tokens) < 0:
        return None
    read = found.input_tokens_details or _InputDetails()
    thought = found.output_tokens_details or _OutputDetails()
    return Usage(
        found.input_tokens,
        found.output_tokens,
        max(0, read.cached_tokens or 0),
        max(0, thought.reasoning_tokens or 0),
        max(0, read.cache_write_tokens or 0),
    )


def write_tool(tool: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Return one of our tools in the flat shape of this protocol."""
    function = {"parameters": None, "strict": None} | dict(tool.get("function") or {})
    return {"type": "function", **function}


def write_format(form: dict[str, Any] | None) -> dict[str, Any]:  # Any: JSON values
    """Return the answer's format in the flat shape of this protocol."""
    if form is None:
        return {"type": "text"}
    return {"type": form.get("type"), **(form.get("json_schema") or {})}


def write_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """Return the tool choice in the flat shape of this protocol."""
    if isinstance(choice, dict):
        name = shape.chosen(choice)
        return None if name is None else {"type": "function", "name": name}
    return choice


class Head:
    """The fields of an answer that are known from the beginning: who answers, and what was asked."""

    def __init__(self, request: GenerateRequest, id_: str, model: str, created: int) -> None:
        self.id = id_
        sampling, extra = request.sampling, request.extra
        first = request.messages[0] if request.messages else None
        instructions = first.text if first is not None and first.role == "system" else None
        self._fields: dict[str, Any] = {
            "id": id_, "object": "response", "created_at": created, "model": model,
            "instructions": instructions, "metadata": extra.get("metadata", {}),
            "parallel_tool_calls": extra.get("parallel_tool_calls", True),
            "temperature": sampling.temperature, "top_p": sampling.top_p,
            "max_output_tokens": sampling.max_tokens, "top_logprobs": sampling.logprobs,
            "tool_choice": write_choice(request.tool_choice) or "auto",
            "tools": [write_tool(t) for t in request.tools],
            "text": {"format": write_format(request.response_format)},
            "truncation": extra.get("truncation", "disabled"), "background": False,
            "store": False, "previous_response_id": None, "user": request.user,
            "reasoning": {"effort": extra.get("reasoning_effort"), "summary": None},
        }  # fmt: skip

    def write(
        self,
        status: str,
        output: list[Any],  # Any: items, as JSON values
        *,
        usage: Usage | None = None,
        finish: FinishReason = "stop",
        error: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the object as it is now."""
        reason = _REASONS.get(finish)
        return self._fields | {
            "status": status,
            "error": error,
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": output,
            "usage": None if usage is None else write_usage(usage),
        }


def status_word(finish: FinishReason) -> str:
    """Return the status of an answer that has come to its end."""
    if finish == "error":
        return "failed"
    return "incomplete" if finish in _REASONS else "completed"


def failure(error: SteadError | None = None) -> dict[str, str]:
    """Return the `error` of a failed answer."""
    if error is None:
        return {"code": "server_error", "message": "the model ended with an error"}
    limited = status_of(error) == 429
    code = "rate_limit_exceeded" if limited else "server_error"
    return {"code": code, "message": error.message}


def message_item(
    id_: str, text: str, status: str, logprobs: list[shape.ChatLogprob]
) -> dict[str, Any]:
    """Return a message item with its text."""
    return {
        "type": "message", "id": id_, "role": "assistant", "status": status,
        "content": [text_part(text, logprobs)],
    }  # fmt: skip


def text_part(text: str, logprobs: list[shape.ChatLogprob]) -> dict[str, Any]:
    """Return the text part of a message item."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def call_item(id_: str, call: ToolCall, status: str) -> dict[str, Any]:
    """Return a call as an item of an answer."""
    return {
        "type": "function_call", "id": id_, "call_id": call.id, "name": call.name,
        "arguments": call.arguments, "status": status,
    }  # fmt: skip


def reasoning_item(
    id_: str, text: str, status: str, thought: Thought | None = None
) -> dict[str, Any]:
    """Return reasoning as an item of an answer, its seal with it."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    found = {"type": "reasoning", "id": id_, "summary": [], "content": content, "status": status}
    if thought is not None:
        found["encrypted_content"] = seals.write(thought, ISSUER, id_)
    return found


def write_output(reply: Reply) -> list[dict[str, Any]]:
    """Return the items of a whole answer: reasoning, text, calls."""
    choice = reply.choices[0]
    message = choice.message
    status = "incomplete" if choice.finish_reason in _REASONS else "completed"
    found = [
        reasoning_item(t.id or f"rs_{reply.id}_{i}", t.text, "completed", t)
        for i, t in enumerate(message.thoughts)
    ]
    if not found and message.reasoning is not None:
        found.append(reasoning_item(f"rs_{reply.id}_0", message.reasoning, "completed"))
    if message.text or not message.tool_calls:
        logprobs = logprobs_of(choice)
        found.append(message_item(f"msg_{reply.id}", message.text, status, logprobs))
    found += [call_item(f"fc_{reply.id}_{i}", c, status) for i, c in enumerate(message.tool_calls)]
    return found


def logprobs_of(choice: Choice) -> list[shape.ChatLogprob]:
    """Return the log-probabilities of a choice in the shape of chat, which is this one's too."""
    found = shape.write_logprobs(choice.logprobs)
    return [] if found is None or found.content is None else found.content


class _Incomplete(Struct):
    reason: str | None = None


class ResponseRead(Struct):
    """An answer object of an upstream."""

    id: str = ""
    model: str = ""
    created_at: float = 0
    status: str | None = None
    output: list[ItemRead] = []
    usage: UsageShape | None = None
    error: ErrorShape | None = None
    incomplete_details: _Incomplete | None = None


def read_finish(found: ResponseRead) -> FinishReason:
    """Return why an answer ended. Raises: BackendError when it failed."""
    if found.status not in {"completed", "incomplete"} or found.error is not None:
        raise failed(found.error, found.status)
    if found.status == "incomplete":
        reason = found.incomplete_details.reason if found.incomplete_details else None
        return _FINISH.get(reason, "length")
    called = any(i.type == "function_call" for i in found.output)
    return "tool_calls" if called else "stop"


def failed(error: ErrorShape | None, status: str | None = "failed") -> BackendError:
    """Return what an answer that has not come to a good end means."""
    words = "(no text)" if error is None else f"{error.code}: {error.message}"
    if error is not None and error.code == "rate_limit_exceeded":
        return RateLimited("rate-limited", f"the endpoint asks to wait: {words}")
    return BackendError("upstream-failed", f"the endpoint's answer is {status!r}: {words}")


KNOWN = frozenset({"message", "function_call", "reasoning"})


def read_reply(found: ResponseRead) -> Reply:
    """Return an answer object as a reply. Raises: BackendError when it failed."""
    finish = read_finish(found)
    thoughts = tuple(t for i in found.output if (t := item_thought(i)) is not None)
    reasoning = "".join(item_text(i) for i in found.output if i.type == "reasoning")
    texts = [item_text(i) for i in found.output if i.type == "message"]
    calls = [
        ToolCall(i.call_id, i.name, i.arguments) for i in found.output if i.type == "function_call"
    ]
    message = Message(
        "assistant",
        "".join(texts) if texts or not calls else None,
        tool_calls=tuple(calls),
        reasoning=reasoning if reasoning else None,
        thoughts=thoughts,
    )
    usage = read_usage(found.usage)
    return Reply(
        id=found.id,
        model=found.model,
        created=int(found.created_at),
        choices=(Choice(0, message, finish, _read_logprobs(found.output)),),
        usage=Usage() if usage is None else usage,
        deviations=tuple(left_out(i.type) for i in found.output if i.type not in KNOWN),
    )


def left_out(kind: str) -> Deviation:
    """Return what is recorded for an item of an answer that is not known here."""
    return Deviation("block_dropped", f"an item of type {kind!r} was left out")


def _read_logprobs(items: list[ItemRead]) -> tuple[Any, ...]:
    content = [c for i in items if i.type == "message" for c in i.content or ()]
    raw = [p for c in content for p in c.logprobs or ()]
    return read_logprobs(raw)


def read_logprobs(raw: list[Any]) -> tuple[Any, ...]:  # Any: decoded JSON
    """Return log-probabilities. Raises: BackendError("bad-answer")."""
    try:
        return shape.read_logprobs(
            shape.ChatLogprobs(msgspec.convert(raw, list[shape.ChatLogprob]))
        )
    except msgspec.ValidationError as error:
        raise BackendError("bad-answer", f"the endpoint sent odd logprobs: {error}") from error
