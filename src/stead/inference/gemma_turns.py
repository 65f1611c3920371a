"""Conversations as gemma.cpp wants them: it puts the first and the last mark of a turn around by itself.

Knows nothing about programs. Source: gemma.cpp README, "prompt wrapping"; Gemma's model card.
"""

from stead.core.errors import BackendError
from stead.messages import GenerateRequest, Message

_BEGIN, _END = "<start_of_turn>", "<end_of_turn>"
_NAMES = {"user": "user", "assistant": "model", "tool": "user"}


def render(request: GenerateRequest) -> str:
    """Return the prompt of a tuned model, without the outermost marks.

    A system message goes before the first user's: Gemma has no such role. Marks within the texts are
    taken out, so that nobody writes in another's name. Raises: BackendError("not-supported") for a
    plain prompt, which the program would make a turn of anyway, and for images.
    """
    if request.messages is None:
        raise BackendError(
            "not-supported", "gemma.cpp makes a turn of every prompt of a tuned model; ask by chat",
            status=400, param="prompt",
        )  # fmt: skip
    turns = _turns(request.messages)
    if turns[-1][0] != "user":
        raise BackendError(
            "not-supported", "the last message must be the user's", status=400, param="messages"
        )
    between = [f"{turns[0][1]}"]
    for role, text in turns[1:]:
        between.append(f"{_END}\n{_BEGIN}{role}\n{text}")
    return "".join(between)


def plain(request: GenerateRequest) -> str:
    """Return the prompt of a pretrained model: as it is; a chat with all its marks."""
    if isinstance(request.prompt, str):
        return request.prompt
    return f"{_BEGIN}user\n{render(request)}{_END}\n{_BEGIN}model\n"


def _turns(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    before: list[str] = []
    turns: list[tuple[str, str]] = []
    for message in messages:
        if not isinstance(message.content, str):
            raise BackendError(
                "not-supported", "gemma.cpp takes texts only", status=400, param="messages"
            )
        text = message.content.replace(_BEGIN, "").replace(_END, "")
        if message.role == "system":
            before.append(text)
        else:
            turns.append((_NAMES[message.role], "\n\n".join([*before, text])))
            before = []
    if before or not turns:
        turns.append(("user", "\n\n".join(before)))
    return turns
