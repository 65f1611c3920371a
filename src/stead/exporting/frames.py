"""Find the text a chat template puts around each message, and prove that nothing else happens.

Knows nothing about target engines. A template is "framed" when every rendering is an opening, then
for each message what goes before and after its content, then maybe the start of an answer. It is
found from a few renderings and checked on the built-in conversations; anything else is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stead.core.errors import DataError, ExportError
from stead.data.template import ChatTemplate
from stead.exporting.conversations import Conversation, built_in
from stead.messages import Message, Role

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_MARK = "QzXq"  # a content no template treats as special


@dataclass(frozen=True, slots=True)
class Frames:
    """The texts around messages: opening, (before, after) by role, start of an answer."""

    opening: str
    around: dict[str, tuple[str, str]]
    answer: str
    trims: bool = False  # contents lose their outer white space

    def render(self, messages: Sequence[Message], *, is_open: bool) -> str:
        """Return what the frames make of a conversation."""
        parts = [self.opening]
        for message in messages:
            before, after = self.around[message.role]
            parts += [before, message.text.strip() if self.trims else message.text, after]
        return "".join([*parts, self.answer if is_open else ""])


def find(template: ChatTemplate) -> Frames:
    """Return the template's frames. Raises: ExportError("template-not-framed") with the reason."""
    try:
        frames = _guess(template)
    except (DataError, ValueError) as error:
        raise _refused(f"it does not render single turns ({error})") from error
    cases = [c for c in built_in(24) if {m.role for m in c.messages} <= set(frames.around)]
    for candidate in (frames, replace(frames, trims=True)):
        if all(_same(template, candidate, case) for case in cases):
            return candidate
    raise _refused("its text depends on more than each message's role and content")


def _same(template: ChatTemplate, frames: Frames, case: Conversation) -> bool:
    try:
        text = template.render(case.messages, add_generation_prompt=case.is_open)
    except DataError:
        return False
    return text == frames.render(case.messages, is_open=case.is_open)


def _guess(template: ChatTemplate) -> Frames:
    user = Message("user", _MARK)
    one, two = template.render([user]), template.render([user, user])
    opening_before, after = one.split(_MARK)
    between = two.split(_MARK)[1]
    before = between.removeprefix(after)
    if not opening_before.endswith(before) or between != after + before:
        raise ValueError("a second user turn looks different")
    opening = opening_before.removesuffix(before)
    answer = template.render([user], add_generation_prompt=True).removeprefix(one)
    frames = Frames(opening, {"user": (before, after)}, answer)
    for role in _ROLES:
        if role != "user":
            frames.around[role] = _around(template, frames, role)
    return frames


def _around(template: ChatTemplate, frames: Frames, role: Role) -> tuple[str, str]:
    user = Message("user", "uSeR")
    turns = [Message(role, _MARK), user] if role == "system" else [user, Message(role, _MARK)]
    text = template.render(turns).removeprefix(frames.opening)
    known = frames.render([user], is_open=False).removeprefix(frames.opening)
    text = text.removesuffix(known) if role == "system" else text.removeprefix(known)
    before, after = text.split(_MARK)
    return before, after


def _refused(why: str) -> ExportError:
    return ExportError(
        "template-not-framed",
        f"the chat template cannot be said in Ollama's language: {why}",
        hint="stead export --help",
    )
