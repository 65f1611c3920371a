"""Four protocols written by hand, for the mock vendors: what a request means, and each answer's bytes.

Knows nothing of stead, so that it can judge the codecs.
"""

import json
from dataclasses import dataclass, field
from typing import Any

CREATED = 1_700_000_000
CREATED_ISO = "2023-11-14T22:13:20.123456789Z"


@dataclass(frozen=True)
class Said:
    """What a request means, whatever its protocol."""

    model: str
    stream: bool
    texts: list[str]  # of everything that is billed as prompt
    last: str  # the last user text
    limit: int | None = None
    tool: str | None = None  # to be called


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    words: list[str]
    finish: str  # "stop", "length", "tool"
    prompt_tokens: int
    cached_tokens: int
    tool: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    usage: bool = True
    written: tuple[int, int] = (0, 0)  # to the prompt cache, for five minutes and for an hour

    @property
    def text(self):
        return "".join(self.words)

    @property
    def completion_tokens(self):
        return len(self.words)


def count(text: str) -> int:
    """The tokens of a text: its words."""
    return len(text.split())


def words_of(prompt: str, length: int) -> list[str]:
    """The words of the answer to a prompt; joined they are the text."""
    seeds = prompt.split() or ["nothing"]
    return [f"{seeds[i % len(seeds)]}{i}" + (" " if i < length - 1 else "") for i in range(length)]


def vector_of(text: str) -> list[float]:
    """The embedding of a text."""
    return [float(len(text)), float(count(text)), float(sum(text.encode()) % 97), 1.0]


def _flat(content) -> str:
    """The text of a message's content, in any of the protocols."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = content.get("parts", [])
    return " ".join(str(p.get("text", p.get("content", ""))) for p in content or [])


def _own(content) -> str:
    """The text that a user wrote: without the answers of tools."""
    if isinstance(content, str):
        return content
    parts = content.get("parts", []) if isinstance(content, dict) else content or []
    return " ".join(p["text"] for p in parts if "text" in p)


def _sse(data, name=None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


ANTHROPIC_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}
GOOGLE_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}


class OpenAI:
    """`/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`."""

    name, kind = "openai", "text/event-stream"

    @staticmethod
    def said(path, body):
        messages = body.get("messages") or [{"role": "user", "content": body.get("prompt", "")}]
        users = [_flat(m.get("content")) for m in messages if m["role"] == "user"]
        calls = body.get("tools") and messages[-1]["role"] != "tool"
        if body.get("tool_choice") == "none":
            calls = False
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        return Said(
            body["model"],
            bool(body.get("stream")),
            [_flat(m.get("content")) for m in messages],
            users[-1] if users else "",
            limit,
            body["tools"][0]["function"]["name"] if calls else None,
        )

    @staticmethod
    def _finish(answer):
        return "tool_calls" if answer.finish == "tool" else answer.finish

    @staticmethod
    def _usage(answer):
        return {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        }

    @classmethod
    def whole(cls, path, said, answer):
        head = {"id": "cmpl-1", "created": CREATED, "model": said.model}
        end = {"finish_reason": cls._finish(answer), "index": 0, "logprobs": None}
        if path.endswith("/chat/completions"):
            message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
            if answer.tool:
                message |= {"content": None, "tool_calls": [cls._call(answer)]}
            choice = {"message": message} | end
            kind = "chat.completion"
        else:
            choice, kind = {"text": answer.text} | end, "text_completion"
        return head | {"object": kind, "choices": [choice], "usage": cls._usage(answer)}

    @staticmethod
    def _call(answer):
        function = {"name": answer.tool, "arguments": json.dumps(answer.arguments)}
        return {"id": "call_1", "type": "function", "function": function}

    @classmethod
    def stream(cls, path, said, answer, body):
        chat = path.endswith("/chat/completions")
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = {"id": "cmpl-1", "object": kind, "created": CREATED, "model": said.model}

        def event(delta, finish=None):
            inner = {"delta": delta} if chat else {"text": delta.get("content", "")}
            choice = {"index": 0, "finish_reason": finish, "logprobs": None} | inner
            return _sse(head | {"choices": [choice]})

        if chat:
            yield event({"role": "assistant", "content": ""}), 0
        if answer.tool:
            call = cls._call(answer)
            arguments = call["function"]["arguments"]
            call["function"]["arguments"] = ""
            yield event({"tool_calls": [{"index": 0} | call]}), 0
            for i, part in enumerate((arguments[:7], arguments[7:])):
                piece = {"index": 0, "function": {"arguments": part}}
                yield event({"tool_calls": [piece]}), i  # one word in all
        else:
            for word in answer.words:
                yield event({"content": word}), 1
        yield event({}, cls._finish(answer)), 0
        if answer.usage and (body.get("stream_options") or {}).get("include_usage"):
            yield _sse(head | {"choices": [], "usage": cls._usage(answer)}), 0
        yield b"data: [DONE]\n\n", 0

    @staticmethod
    def vectors(body):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        tokens = sum(map(count, texts))
        data = [
            {"object": "embedding", "index": i, "embedding": vector_of(t)}
            for i, t in enumerate(texts)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": body["model"], "usage": usage}, tokens

    @staticmethod
    def error(status, message):
        kind = "server_error" if status >= 500 else "invalid_request_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    @classmethod
    def error_event(cls, message):
        return _sse(cls.error(500, message))


class Anthropic:
    """`/v1/messages` and `/v1/messages/count_tokens`."""

    name, kind = "anthropic", "text/event-stream"

    @staticmethod
    def said(path, body):
        messages = body["messages"]
        answered = any(
            isinstance(m["content"], list) and any(b["type"] == "tool_result" for b in m["content"])
            for m in messages[-1:]
        )
        calls = body.get("tools") and not answered
        if (body.get("tool_choice") or {}).get("type") == "none":
            calls = False
        return Said(
            body["model"],
            bool(body.get("stream")),
            [_flat(body.get("system", "")), *(_flat(m["content"]) for m in messages)],
            next(
                (
                    t
                    for m in reversed(messages)
                    if m["role"] == "user" and (t := _own(m["content"]))
                ),
                "",
            ),
            body.get("max_tokens"),
            body["tools"][0]["name"] if calls else None,
        )

    @classmethod
    def _message(cls, said, answer, **more):
        usage = {
            "input_tokens": answer.prompt_tokens - answer.cached_tokens - sum(answer.written),
            "cache_read_input_tokens": answer.cached_tokens,
            "cache_creation_input_tokens": sum(answer.written),
            "cache_creation": {
                "ephemeral_5m_input_tokens": answer.written[0],
                "ephemeral_1h_input_tokens": answer.written[1],
            },
        }
        found = {"id": "msg_1", "type": "message", "role": "assistant", "model": said.model}
        found |= {"content": [], "stop_reason": None, "stop_sequence": None}
        return found | {"usage": usage | {"output_tokens": 0}} | more

    @classmethod
    def whole(cls, path, said, answer):
        block: dict[str, Any] = {"type": "text", "text": answer.text}
        if answer.tool:
            block = {"type": "tool_use", "id": "toolu_1", "name": answer.tool}
            block["input"] = answer.arguments
        found = cls._message(
            said, answer, content=[block], stop_reason=ANTHROPIC_FINISH[answer.finish]
        )
        found["usage"]["output_tokens"] = answer.completion_tokens
        return found

    @classmethod
    def stream(cls, path, said, answer, body):
        def event(kind, **fields):
            return _sse({"type": kind} | fields, kind)

        yield event("message_start", message=cls._message(said, answer)), 0
        block: dict[str, Any] = {"type": "text", "text": ""}
        if answer.tool:
            block = {"type": "tool_use", "id": "toolu_1", "name": answer.tool, "input": {}}
        yield event("content_block_start", index=0, content_block=block), 0
        yield event("ping"), 0
        if answer.tool:
            text = json.dumps(answer.arguments)
            for i, part in enumerate((text[:7], text[7:])):
                delta = {"type": "input_json_delta", "partial_json": part}
                yield event("content_block_delta", index=0, delta=delta), i
        else:
            for word in answer.words:
                delta = {"type": "text_delta", "text": word}
                yield event("content_block_delta", index=0, delta=delta), 1
        yield event("content_block_stop", index=0), 0
        delta = {"stop_reason": ANTHROPIC_FINISH[answer.finish], "stop_sequence": None}
        usage = {"output_tokens": answer.completion_tokens} if answer.usage else {}
        yield event("message_delta", delta=delta, usage=usage), 0
        yield event("message_stop"), 0

    @staticmethod
    def error(status, message):
        kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
        kinds |= {403: "permission_error", 429: "rate_limit_error", 529: "overloaded_error"}
        inner = {"type": kinds.get(status, "api_error"), "message": message}
        return {"type": "error", "error": inner, "request_id": "req_1"}

    @classmethod
    def error_event(cls, message):
        return _sse(cls.error(500, message), "error")


class Google:
    """`/v1beta/models/{model}:generateContent`, `:streamGenerateContent`, `:batchEmbedContents`."""

    name, kind = "google", "text/event-stream"

    @staticmethod
    def said(path, body):
        model, _, method = path.rpartition("/")[2].partition(":")
        contents = body["contents"]
        answered = any("functionResponse" in p for p in contents[-1]["parts"])
        tools = [f for t in body.get("tools", ()) for f in t.get("functionDeclarations", ())]
        mode = body.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode")
        users = [t for c in contents if c.get("role", "user") == "user" and (t := _own(c))]
        return Said(
            model,
            method == "streamGenerateContent",
            [_flat(body.get("systemInstruction", {})), *map(_flat, contents)],
            users[-1] if users else "",
            body.get("generationConfig", {}).get("maxOutputTokens"),
            tools[0]["name"] if tools and not answered and mode != "NONE" else None,
        )

    @staticmethod
    def _part(said, answer, text, finish=None, done=None):
        done = answer.completion_tokens if done is None else done
        part: dict[str, Any] = {"text": text}
        if answer.tool:
            part = {"functionCall": {"name": answer.tool, "args": answer.arguments}}
        candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        usage = {
            "promptTokenCount": answer.prompt_tokens,
            "candidatesTokenCount": done,
            "totalTokenCount": answer.prompt_tokens + done,
        }
        if answer.cached_tokens:
            usage["cachedContentTokenCount"] = answer.cached_tokens
        found = {"candidates": [candidate], "modelVersion": said.model, "responseId": "resp1"}
        return found | ({"usageMetadata": usage} if answer.usage else {})

    @classmethod
    def whole(cls, path, said, answer):
        return cls._part(said, answer, answer.text, GOOGLE_FINISH[answer.finish])

    @classmethod
    def stream(cls, path, said, answer, body):
        last = len(answer.words) - 1
        for i, word in enumerate(answer.words):
            finish = GOOGLE_FINISH[answer.finish] if i == last else None
            yield _sse(cls._part(said, answer, word, finish, i + 1)), 1

    @staticmethod
    def vectors(body):
        texts = [_flat(r["content"]) for r in body["requests"]]
        return {"embeddings": [{"values": vector_of(t)} for t in texts]}, sum(map(count, texts))

    @staticmethod
    def error(status, message):
        names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
        names |= {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        name = names.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": name}}

    @classmethod
    def error_event(cls, message):
        return _sse(cls.error(500, message))


class Ollama:
    """`/api/chat`, `/api/generate`, `/api/embed`: NDJSON, and streamed unless told otherwise."""

    name, kind = "ollama", "application/x-ndjson"

    @staticmethod
    def said(path, body):
        messages = body.get("messages")
        if messages is None:
            messages = [
                {"role": "system", "content": body.get("system", "")},
                {"role": "user", "content": body.get("prompt", "")},
            ]
        users = [m.get("content", "") for m in messages if m["role"] == "user"]
        calls = body.get("tools") and messages[-1]["role"] != "tool"
        return Said(
            body["model"],
            body.get("stream") is not False,
            [m.get("content", "") for m in messages],
            users[-1] if users else "",
            body.get("options", {}).get("num_predict"),
            body["tools"][0]["function"]["name"] if calls else None,
        )

    @staticmethod
    def _line(path, said, text, calls=None, **more):
        found = {"model": said.model, "created_at": CREATED_ISO}
        if path.endswith("/chat"):
            found["message"] = {"role": "assistant", "content": text}
            if calls:
                found["message"]["tool_calls"] = calls
        else:
            found["response"] = text
        return found | {"done": False} | more

    @classmethod
    def _last(cls, path, said, answer, text):
        finish = "stop" if answer.finish == "tool" else answer.finish
        found = cls._line(path, said, text, done=True, done_reason=finish)
        if path.endswith("/generate"):
            found["context"] = [1, 2, 3]
        if not answer.usage:
            return found
        return found | {
            "total_duration": 5_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": answer.prompt_tokens,
            "prompt_eval_duration": 2_000_000,
            "eval_count": answer.completion_tokens,
            "eval_duration": 2_000_000,
        }

    @staticmethod
    def _calls(answer):
        return [{"function": {"name": answer.tool, "arguments": answer.arguments}}]

    @classmethod
    def whole(cls, path, said, answer):
        found = cls._last(path, said, answer, answer.text)
        if answer.tool:
            found["message"] = {
                "role": "assistant",
                "content": "",
                "tool_calls": cls._calls(answer),
            }
        return found

    @classmethod
    def stream(cls, path, said, answer, body):
        def line(data):
            return json.dumps(data).encode() + b"\n"

        if answer.tool:
            yield line(cls._line(path, said, "", cls._calls(answer))), 1
        else:
            for word in answer.words:
                yield line(cls._line(path, said, word)), 1
        yield line(cls._last(path, said, answer, "")), 0

    @staticmethod
    def vectors(body):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        tokens = sum(map(count, texts))
        found = {"model": body["model"], "embeddings": [vector_of(t) for t in texts]}
        return found | {
            "total_duration": 1,
            "load_duration": 1,
            "prompt_eval_count": tokens,
        }, tokens

    @staticmethod
    def error(status, message):
        return {"error": message}

    @classmethod
    def error_event(cls, message):
        return json.dumps(cls.error(500, message)).encode() + b"\n"


def protocol_of(path):
    """The protocol of a path, or None."""
    if path.startswith("/v1/messages"):
        return Anthropic
    if path.startswith("/v1beta/models"):
        return Google
    if path.startswith("/api/"):
        return Ollama
    return OpenAI if path.startswith("/v1/") else None
