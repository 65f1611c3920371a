"""How the model that trains is asked: prompts as ids, greedy answers with the weights as they are.

Knows nothing about when. Nothing random is drawn and nothing of the model is kept, so a run with samples has the
same bits as one without.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer
from stead.messages import GenerateRequest, Message, Sampling
from stead.models.writing import rollout
from stead.models.writing.generate import context_length, to_the_end
from stead.models.writing.prompting import Prompter
from stead.training.loop.parts import Parts

NAME = "samples.jsonl"
Answers = list[dict[str, Any]]  # Any: JSON values


def arguments(parts: Parts) -> dict[str, Any]:  # Any: what the callback takes
    """Return what the callback `samples` needs of a run."""
    given = parts.trainer.samples
    path: Path | None = parts.run_dir / NAME if parts.world.leads else None
    return {
        "every": parts.every if given.every is None else given.every,
        "ask": asker(parts),
        "path": path,
    }


def asker(parts: Parts) -> Callable[[int], Answers]:
    """Return what asks the model after a step. A prompt too long for its context loses its beginning."""
    loaded, given = parts.loaded, parts.trainer.samples
    tokenizer, template = TextTokenizer.open(loaded.folder), ChatTemplate.open(loaded.folder)
    context = context_length(loaded)
    prompter = Prompter(template, tokenizer, context)
    room = max(1, context - given.max_new_tokens)
    ids = [prompter.prompt_ids(_request(text, parts.prepared.kind))[-room:] for text in given.prompts]  # fmt: skip
    sampling = Sampling(max_tokens=given.max_new_tokens, temperature=0.0)

    def ask(step: int) -> Answers:
        loaded.model.eval()
        written = rollout.write(
            loaded, ids, [[0]] * len(ids), sampling, tokenizer.stop_ids, halt=to_the_end
        )
        return [
            {
                "step": step, "prompt": text, "answer": tokenizer.decode(one.ids),
                "tokens": len(one.ids), "stopped": one.stopped,
            }
            for text, (one,) in zip(given.prompts, written, strict=True)
        ]  # fmt: skip

    return ask


def _request(text: str, kind: str) -> GenerateRequest:
    if kind == "text":
        return GenerateRequest(model="", prompt=text)
    return GenerateRequest(model="", messages=(Message(role="user", content=text),))
