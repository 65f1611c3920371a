"""Proof that an exported model is the model: prompt bytes, token ids, stop set, log-probabilities.

Knows nothing about how files are written. The reference is transformers in float32 on the CPU, fed by
our own renderer and tokenizer, as in training. Each other form of the model is one hop, compared on
the same conversations; a verdict never says more than was compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stead.core.errors import DataError
from stead.core.events import Emit, Note, Started, ignore
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.exporting import conversations, pretokenizer, questions, vocab
from stead.exporting.compare import Hop, Row, Tally, bound_of, judge
from stead.exporting.conversations import Conversation
from stead.exporting.questions import Answers, Questions
from stead.exporting.reference import Reference
from stead.exporting.source import Source
from stead.hub.info import ModelInfo
from stead.hub.inspect import inspect

TOP = 256  # likeliest tokens compared per position; all others together count as one more
_TOKENS = 128  # of each conversation's beginning
_POSITIONS = 16  # compared in each, evenly spaced, the last one included
_WORDS = 256  # tokens of the vocabulary whose own text is tokenized again
_STOPS = 64  # control tokens tried as ends of an answer
_END_KEYS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))


@dataclass(frozen=True, slots=True)
class Case:
    """One conversation as the reference sees it: its bytes and its tokens."""

    conversation: Conversation
    text: str
    ids: list[int]


def run_parity(
    model: str,
    gguf: str,
    *,
    merged: str | None = None,
    data: str | None = None,
    limit: int = 24,
    emit: Emit = ignore,
) -> dict[str, Any]:  # Any: JSON values
    """Compare a model with its GGUF file (and merged folder) and return the verdict as JSON values.

    Raises: ModelError for a file that cannot be read; ExportError("llama-died"); DataError when no
    conversation of `data` can be rendered.
    """
    source, info = Source.open(model), inspect(gguf)
    tokenizer = TextTokenizer.open(source.tokenizer)
    cases = _cases(source, tokenizer, data, limit, emit)
    asked = _questions(tokenizer, cases, vocab.control_ids(source.tokenizer))
    emit(Started(stage="parity", total=sum(map(len, asked.lengths)), unit="position"))
    answers = questions.ask(Path(gguf), asked, emit)
    forms: dict[str, list[list[Row]]] = {"gguf": answers.logprobs}
    if merged is not None:
        other = Reference.load(inspect(merged).path, None)
        pairs = zip(asked.sequences, asked.lengths, strict=True)
        forms["merged"] = [other.top(ids, lengths, TOP) for ids, lengths in pairs]
    tallies = _tally(source, asked, forms)
    hops = [_gguf_hop(tokenizer, cases, asked, answers, info, tallies["gguf"])]
    if merged is not None:
        hops.append(_merged_hop(source, Path(merged), cases, tallies["merged"]))
    return _result(source, info, cases, hops)


def _cases(
    source: Source, tokenizer: TextTokenizer, data: str | None, limit: int, emit: Emit
) -> list[Case]:
    """Render the conversations; those the template itself refuses are left out, and said."""
    template = ChatTemplate.open(source.tokenizer)
    given = (
        conversations.built_in(limit, with_tools="tools" in template.source)
        if data is None
        else conversations.from_file(Path(data), limit)
    )
    cases, refused = [], []
    for one in given:
        try:
            text = template.render(one.messages, one.tools, add_generation_prompt=one.is_open)
        except DataError as error:
            refused.append(error)
            continue
        cases.append(Case(one, text, tokenizer.encode(text).ids))
    if refused:
        message = f"the template refuses {len(refused)} conversations: {refused[0].message}"
        emit(Note(stage="parity", message=message, level="warning", code="refused"))
    if not any(case.ids for case in cases):
        raise DataError("no-conversations", "no conversation could be rendered and compared")
    return cases


def _questions(
    tokenizer: TextTokenizer, cases: Sequence[Case], controls: Sequence[int]
) -> Questions:
    texts = [message.text for case in cases for message in case.conversation.messages]
    texts += [pretokenizer.PROBE, *_spellings(tokenizer)]
    others = [i for i in controls if i not in tokenizer.stop_ids]
    sequences = [case.ids[:_TOKENS] for case in cases if case.ids]
    return Questions(
        chats=[questions.chat(case.conversation) for case in cases],
        texts=sorted({text for text in texts if text}),
        stops=[*tokenizer.stop_ids, *others[:_STOPS]],
        sequences=sequences,
        lengths=[_spread(len(ids)) for ids in sequences],
        top=TOP,
    )


def _spellings(tokenizer: TextTokenizer) -> list[str]:
    """Return the texts of tokens from all over the vocabulary: no conversation uses them all."""
    step = max(1, tokenizer.vocab_size // _WORDS)
    found = [tokenizer.decode([i]) for i in range(0, tokenizer.vocab_size, step)]
    return [text for text in found if "\ufffd" not in text]  # part of a character is no text


def _spread(length: int) -> list[int]:
    """Return up to `_POSITIONS` prefix lengths, evenly spaced, the whole sequence last."""
    count = min(length, _POSITIONS)
    return [(i + 1) * length // count for i in range(count)]


def _tally(source: Source, asked: Questions, forms: dict[str, list[list[Row]]]) -> dict[str, Tally]:
    """Run the reference once and compare every form with it, one sequence in memory at a time."""
    reference = Reference.load(source.base, source.adapter)
    tallies = {name: Tally() for name in forms}
    for number, ids in enumerate(asked.sequences):
        rows = reference.logprobs(ids, asked.lengths[number])
        for name, tally in tallies.items():
            tally.add(rows, forms[name][number])
    return tallies


def _gguf_hop(
    tokenizer: TextTokenizer,
    cases: Sequence[Case],
    asked: Questions,
    answers: Answers,
    info: ModelInfo,
    tally: Tally,
) -> Hop:
    bos = None if tokenizer.bos_id is None else tokenizer.token(tokenizer.bos_id)
    fed = [questions.effective(r, answers.empty_ids, bos) for r in answers.renders]
    same_bytes = [case.text == text for case, text in zip(cases, fed, strict=True)]
    same_chat = [case.ids == ids for case, ids in zip(cases, answers.chat_ids, strict=True)]
    same_text = [
        tokenizer.encode(text).ids == ids
        for text, ids in zip(asked.texts, answers.text_ids, strict=True)
    ]
    declared = {info.config[key] for key in _END_KEYS if key in info.config}
    needed, ends = set(tokenizer.stop_ids), set(answers.ends)
    return Hop(
        origin="transformers",
        target="gguf",
        quant=bound_of(info.config.get("general.file_type")),
        prompt_bytes_equal=all(same_bytes),
        token_ids_equal=all(same_chat) and all(same_text),
        stop_equal=needed <= ends and declared <= needed,
        conversations=len(cases),
        unequal=[
            i for i, ok in enumerate(map(all, zip(same_bytes, same_chat, strict=True))) if not ok
        ],
        stops={
            "needed": sorted(needed),
            "ends": sorted(ends),
            "declared": sorted(declared),
            "extra": [tokenizer.token(i) for i in sorted(ends - needed)],
        },
        tally=tally,
    )


def _merged_hop(source: Source, merged: Path, cases: Sequence[Case], tally: Tally) -> Hop:
    """Compare renderer, tokenizer and stops of the merged folder with the reference's."""
    template, tokenizer = ChatTemplate.open(merged), TextTokenizer.open(merged)
    own = TextTokenizer.open(source.tokenizer)
    texts = [
        template.render(c.messages, c.tools, add_generation_prompt=c.is_open)
        for c in (case.conversation for case in cases)
    ]
    same_bytes = [case.text == text for case, text in zip(cases, texts, strict=True)]
    same_ids = [case.ids == tokenizer.encode(t).ids for case, t in zip(cases, texts, strict=True)]
    return Hop(
        origin="transformers",
        target="merged",
        quant={"fp32": "f32", "bf16": "bf16", "fp16": "f16"}.get(inspect(merged).dtype, "bf16"),
        prompt_bytes_equal=all(same_bytes),
        token_ids_equal=all(same_ids),
        stop_equal=set(own.stop_ids) == set(tokenizer.stop_ids),
        conversations=len(cases),
        unequal=[
            i for i, ok in enumerate(map(all, zip(same_bytes, same_ids, strict=True))) if not ok
        ],
        stops={"needed": sorted(own.stop_ids), "ends": sorted(tokenizer.stop_ids)},
        tally=tally,
    )


def _result(
    source: Source, info: ModelInfo, cases: Sequence[Case], hops: Sequence[Hop]
) -> dict[str, Any]:
    reasons = [reason for hop in hops for reason in judge(hop)]
    recorded = info.config.get("stead.source_hash")
    return {
        "verdict": "fail" if reasons else "pass",
        "reasons": reasons,
        "model": str(source.folder),
        "gguf": str(info.path),
        "gguf_hash": info.hash,
        "source_hash": source.hash,
        "source_recorded": None if recorded is None else recorded == source.hash,
        "hops": [hop.to_dict() for hop in hops],
        "n_conversations": len(cases),
        "n_tokens": hops[0].tally.positions,
    }
