"""Several generations as one answer: merge replies, merge streams.

Knows nothing about why there are several: more prompts in one request, or more choices of one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from stead.inference.backend import close_stream
from stead.messages import Chunk, Reply, Usage


def merge_usage(usages: Sequence[Usage], *, same_prompt: bool) -> Usage:
    """Add token counts; a prompt shared by all is counted once."""
    prompt = usages[0].prompt_tokens if same_prompt else sum(u.prompt_tokens for u in usages)
    return Usage(
        prompt,
        sum(u.completion_tokens for u in usages),
        usages[0].cached_tokens if same_prompt else sum(u.cached_tokens for u in usages),
        sum(u.reasoning_tokens for u in usages),
        usages[0].cache_write_tokens if same_prompt else sum(u.cache_write_tokens for u in usages),
        usages[0].long_write_tokens if same_prompt else sum(u.long_write_tokens for u in usages),
    )


def merge_replies(replies: Sequence[Reply], *, same_prompt: bool) -> Reply:
    """Return one reply with all choices, numbered on in the order of the replies."""
    choices = [c for reply in replies for c in reply.choices]
    deviations = dict.fromkeys(d for reply in replies for d in reply.deviations)
    return replace(
        replies[0],
        choices=tuple(replace(c, index=i) for i, c in enumerate(choices)),
        usage=merge_usage([r.usage for r in replies], same_prompt=same_prompt),
        deviations=tuple(deviations),
    )


async def merge_streams(
    streams: Sequence[AsyncIterator[Chunk]], *, choices: int, same_prompt: bool
) -> AsyncIterator[Chunk]:
    """Yield the chunks of all streams as they come, then their usage added up.

    Stream i's choices get the numbers from i × `choices` on; all chunks bear the first one's id. The first
    error ends all; leaving the iterator closes every stream.
    """
    queue: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(
        16
    )  # a slow reader slows all
    tasks = [asyncio.create_task(_pump(s, i * choices, queue)) for i, s in enumerate(streams)]
    usages: list[Usage] = []
    head: Chunk | None = None
    running = len(tasks)
    try:
        while running:
            item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                head = item if head is None else head
                if item.usage is not None:
                    usages.append(item.usage)
                if item.usage is None or item.text or item.finish_reason is not None:
                    yield replace(item, id=head.id, usage=None)
        if usages and head is not None:
            usage = merge_usage(usages, same_prompt=same_prompt)
            yield Chunk(id=head.id, model=head.model, created=head.created, usage=usage)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    stream: AsyncIterator[Chunk], offset: int, queue: "asyncio.Queue[Chunk | BaseException | None]"
) -> None:
    """Move one stream's chunks into the queue; its error too, since a task's own would be lost."""
    try:
        async for chunk in stream:
            await queue.put(replace(chunk, index=chunk.index + offset))
    except Exception as error:  # house: broad-except - handed on; the reader raises it
        await queue.put(error)
    else:
        await queue.put(None)
    finally:
        await close_stream(stream)
