"""Generated messages, requests and answers for the property tests of the codecs."""

import json

from hypothesis import strategies as st
from msgspec.structs import replace

from stead.messages import (
    Chunk,
    GenerateRequest,
    ImagePart,
    Message,
    Sampling,
    TextPart,
    Thought,
    ToolCall,
    ToolCallDelta,
    Usage,
)

letters = st.characters(exclude_categories=("Cs", "Zs", "Cc", "Zl", "Zp"))
some = st.text(letters, min_size=1, max_size=12)
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
said = text.filter(bool)
share = st.floats(0, 1)
objects = st.dictionaries(some, st.integers() | text | st.none(), max_size=2)
arguments = objects.map(json.dumps)
calls = st.builds(ToolCall, id=some, name=some, arguments=arguments)
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object"}}}


def parts(urls):
    """Two parts or more, or one image: text alone stands by itself."""
    image = st.builds(ImagePart, urls, st.none() | st.just("low"))
    several = st.lists(st.builds(TextPart, text) | image, min_size=2, max_size=3)
    return several.map(tuple) | image.map(lambda i: (i,))


urls = st.sampled_from(["https://example.com/a.png", "data:image/png;base64,AAAA"])
contents = text | parts(urls)


def thoughts(issuer):
    piece = st.builds(
        Thought,
        st.just(issuer),
        some,
        some,
        st.just("rs_1" if issuer == "openai" else None),
    )
    return st.lists(piece, max_size=2).map(tuple)


@st.composite
def conversations(draw, issuer):
    """What a protocol with turns can say: reasoning is sealed by `issuer` or by nobody."""
    found = []
    if draw(st.booleans()):
        found.append(Message("system", draw(said)))
    for _ in range(draw(st.integers(1, 2))):
        found.append(Message("user", draw(contents), draw(st.none() | some)))
        sealed = draw(thoughts(issuer))
        asked = tuple(draw(st.lists(calls, max_size=2)))
        reasoning = "".join(t.text for t in sealed) if sealed else draw(st.none() | some)
        content = draw(said) if draw(st.booleans()) or not asked else None
        found.append(
            Message("assistant", content, tool_calls=asked, reasoning=reasoning, thoughts=sealed)
        )
        for call in asked:
            answer, failed = draw(contents), draw(st.booleans())
            found.append(Message("tool", answer, tool_call_id=call.id, failed=failed))
    return tuple(found)


samplings = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    temperature=st.none() | share,
    top_p=st.none() | share,
    top_k=st.none() | st.integers(0, 1000),
    min_p=st.none() | share,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    stop=st.lists(some, max_size=3).map(tuple),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    repeat_penalty=st.none() | st.floats(0, 10),
    logprobs=st.none() | st.integers(0, 20),
    logit_bias=st.dictionaries(st.sampled_from(["1", "7"]), st.floats(-100, 100), max_size=2),
    n=st.integers(1, 3),
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "parallel_tool_calls": st.booleans(),
        "reasoning_effort": st.sampled_from(["low", "high"]),
        "metadata": st.just({"a": "b"}),
        "verbosity": st.just("low"),
        "prediction": st.just({"type": "content", "content": "x"}),
        "thinking": st.just({"type": "enabled", "budget_tokens": 1024}),
        "truncation": st.just("auto"),
        "suffix": st.just("s"),
    },
)


def requests(issuer):
    return st.builds(
        lambda tools, choice, extra, **fields: GenerateRequest(
            tools=tools,
            tool_choice=choice if tools else None,
            extra={k: v for k, v in extra.items() if tools or k != "parallel_tool_calls"},
            **fields,
        ),
        tools=st.sampled_from([(), (TOOL,)]),
        choice=st.sampled_from(["auto", {"type": "function", "function": {"name": "f"}}]),
        model=some,
        messages=conversations(issuer),
        sampling=samplings,
        response_format=st.sampled_from([None, SCHEMA]),
        stream=st.booleans(),
        user=st.none() | some,
        extra=extras,
    )


_EMPTY = {"tools": (), "tool_choice": None, "response_format": None}


def without(request, lost):
    """Return the request without the fields named in `lost`, as the protocol is expected to carry it."""
    names = {name.split(" ")[0] for name in lost}
    plain = {n: getattr(Sampling(), n) for n in names if n in Sampling.__struct_fields__}
    return replace(
        request,
        sampling=replace(request.sampling, **plain),
        extra={k: v for k, v in request.extra.items() if k not in names},
        **{n: v for n, v in _EMPTY.items() if n in names},
        messages=request.messages and tuple(_bare(m, names) for m in request.messages),
    )


def _bare(message, names):
    if "messages.name" in names:
        message = replace(message, name=None)
    if "messages.failed" in names:
        message = replace(message, failed=False)
    if "messages.reasoning" in names:
        sealed = "".join(t.text for t in message.thoughts)
        message = replace(message, reasoning=sealed or None)
    if "messages.thoughts" in names:
        message = replace(message, thoughts=())
    if "messages.detail" in names and isinstance(message.content, tuple):
        bare = (replace(p, detail=None) if isinstance(p, ImagePart) else p for p in message.content)
        message = replace(message, content=tuple(bare))
    return message


usages = st.builds(
    lambda fresh, cached, written, output, thought: Usage(
        fresh + cached + written, output, cached, thought, written
    ),
    *[st.integers(0, 10**6)] * 5,
)


def answers(issuer):
    def build(content, asked, sealed, reasoning):
        shown = "".join(t.text for t in sealed) if sealed else reasoning
        said_ = content if content or not asked else None
        return Message("assistant", said_, tool_calls=asked, reasoning=shown, thoughts=sealed)

    return st.builds(
        build,
        text,
        st.lists(calls, max_size=2).map(tuple),
        thoughts(issuer),
        st.none() | some,
    )


@st.composite
def streams(draw, issuer):
    """The chunks of an answer, cut anywhere; returned with the message they make."""
    message = draw(answers(issuer))
    head = {"id": "i", "model": "m", "created": 7}
    found = []
    for piece in message.thoughts or ((None,) if message.reasoning else ()):
        shown = message.reasoning if piece is None else piece.text
        found += [Chunk(**head, reasoning=p) for p in _cut(draw, shown)]
        found += [] if piece is None else [Chunk(**head, thought=piece)]
    found += [Chunk(**head, text=p) for p in _cut(draw, message.text)]
    for i, call in enumerate(message.tool_calls):
        found.append(Chunk(**head, tool_calls=(ToolCallDelta(i, call.id, call.name),)))
        found += [
            Chunk(**head, tool_calls=(ToolCallDelta(i, arguments=p),))
            for p in _cut(draw, call.arguments)
        ]
    usage = draw(usages)
    finish = "tool_calls" if message.tool_calls else draw(st.sampled_from(["stop", "length"]))
    found.append(Chunk(**head, finish_reason=finish))
    found.append(Chunk(**head, usage=usage))
    return message, finish, usage, found


def _cut(draw, whole):
    size = draw(st.integers(1, 5))
    return [whole[i : i + size] for i in range(0, len(whole), size)]


def collect(chunks):
    """Put the chunks of one choice together again: message, reason to finish, usage."""
    calls_, thoughts_, finish, usage = {}, [], None, None
    for chunk in chunks:
        for delta in chunk.tool_calls:
            call = calls_.setdefault(delta.index, ["", "", ""])
            call[0] += delta.id or ""
            call[1] += delta.name or ""
            call[2] += delta.arguments
        if chunk.thought is not None:
            thoughts_.append(chunk.thought)
        finish = chunk.finish_reason or finish
        usage = chunk.usage or usage
    asked = tuple(ToolCall(*c) for c in calls_.values())
    content = "".join(c.text for c in chunks)
    reasoning = "".join(c.reasoning for c in chunks)
    message = Message(
        "assistant",
        content if content or not asked else None,
        tool_calls=asked,
        reasoning=reasoning or None,
        thoughts=tuple(thoughts_),
    )
    return message, finish, usage


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
junk = st.recursive(
    leaves, lambda x: st.lists(x, max_size=3) | st.dictionaries(some, x, max_size=3), max_leaves=6
)


@st.composite
def spoilt(draw, body):
    """A body with one of its values replaced by junk."""
    found = json.loads(json.dumps(body))
    at = found
    while True:
        key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], dict | list) or not at[key] or draw(st.booleans()):
            break
        at = at[key]
    at[key] = draw(junk)
    return found
