"""Requests as token ids: templates, beginnings of text, what is cut, what a text model cannot take.

Knows nothing about how ids are computed with. Every cut or dropped field is a recorded deviation.
"""

from dataclasses import dataclass

from msgspec import structs

from stead.core.errors import BackendError, UsageError
from stead.data.mask import chat_needs_bos, mask_tokens
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import Deviation, GenerateRequest, Sampling, TextPart

_ANSWER_ROOM = 16  # tokens kept free for an answer when a prompt has to be cut


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as ids; `scored` are the positions whose log-probabilities are wanted."""

    request: GenerateRequest
    ids: list[int]
    scored: list[int]
    deviations: tuple[Deviation, ...]


class Prompter:
    """Makes ids of requests for one model."""

    def __init__(self, template: ChatTemplate, tokenizer: TextTokenizer, context: int) -> None:
        self.template, self.tokenizer, self.context = template, tokenizer, context
        bos = (
            tokenizer.bos_id
            if chat_needs_bos(tokenizer, is_default_template=template.is_default)
            else None
        )
        self._chat_bos = () if bos is None else (bos,)
        ending = template.end_of_turn().strip()
        # An end of turn that is one token is among the stop ids; one of several is a stop string.
        self._endings = (ending,) if len(tokenizer.encode(ending).ids) > 1 else ()

    def ask(self, request: GenerateRequest) -> Asked:
        """Return what to compute.

        Raises: UsageError("no-vision") for images; BackendError("deviation") when something would be
        done otherwise and `strict` forbids it.
        """
        _check_text_only(request)
        if is_scoring(request):
            ids, scored = self._scored_ids(request)
            found: tuple[Deviation, ...] = ()
            if len(ids) > self.context:
                text = f"{len(ids)} tokens, context {self.context}"
                found = (Deviation("input_windowed", text),)
            asked = Asked(request, ids, scored, found)
        else:
            asked = self._cut(request, self.prompt_ids(request))
        if request.strict and asked.deviations:
            first = asked.deviations[0]
            raise BackendError("deviation", f"{first.kind}: {first.detail} (strict was asked for)")
        return asked

    def sampling(self, request: GenerateRequest) -> Sampling:
        """Return the request's sampling, with the template's end of turn where it is a text."""
        if request.messages is None or not self._endings:
            return request.sampling
        return structs.replace(request.sampling, stop=(*request.sampling.stop, *self._endings))

    def prompt_ids(self, request: GenerateRequest) -> list[int]:
        """Return the whole prompt, uncut."""
        _check_text_only(request)
        if request.messages is None:
            return self.text_ids("" if request.prompt is None else request.prompt)
        tools = () if request.tool_choice == "none" else request.tools
        text = self.template.render(request.messages, tools, add_generation_prompt=True)
        return [*self._chat_bos, *self.tokenizer.encode(text).ids]

    def text_ids(self, text: str | tuple[int, ...]) -> list[int]:
        """Encode plain text as the model expects it: with BOS where its tokenizer adds one."""
        if not isinstance(text, str):
            return list(text)
        ids = self.tokenizer.encode(text).ids
        bos = self.tokenizer.bos_id
        wants_bos = self.tokenizer.adds_bos or not ids
        return [bos, *ids] if wants_bos and bos is not None and ids[:1] != [bos] else ids

    def _cut(self, request: GenerateRequest, ids: list[int]) -> Asked:
        wanted = request.sampling.max_tokens
        free = min(_ANSWER_ROOM if wanted is None else max(1, wanted), self.context // 2)
        room = self.context - free
        if len(ids) <= room:
            return Asked(request, ids, [], ())
        text = f"the first {len(ids) - room} of {len(ids)} prompt tokens were cut"
        return Asked(request, ids[-room:], [], (Deviation("input_truncated", text),))

    def _scored_ids(self, request: GenerateRequest) -> tuple[list[int], list[int]]:
        if request.messages is None:
            ids = self.prompt_ids(request)
            return ids, list(range(1, len(ids)))
        if request.messages[-1].role != "assistant":
            raise BackendError("nothing-to-score", "a chat is scored on its last turn, an answer")
        shown = self.template.render_masked(request.messages, request.tools, train="last")
        masked = mask_tokens(shown.text, self.tokenizer.encode(shown.text), shown.spans)
        first = len(self._chat_bos)
        scored = [first + i for i, on in enumerate(masked.mask) if on and first + i > 0]
        return [*self._chat_bos, *masked.ids], scored


def is_scoring(request: GenerateRequest) -> bool:
    """Say whether a request wants its own log-probabilities and no answer."""
    return request.echo and request.sampling.max_tokens == 0


def _check_text_only(request: GenerateRequest) -> None:
    for i, message in enumerate(request.messages or ()):
        parts = message.content if isinstance(message.content, tuple) else ()
        for j, part in enumerate(parts):
            if not isinstance(part, TextPart):
                raise UsageError(
                    "no-vision",
                    f"{request.model[:200]!r} reads text only, and messages[{i}] has something else",
                    param=f"messages[{i}].content[{j}]",
                )
