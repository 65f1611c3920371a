"""The processes that train one model together, and what they tell each other.

Knows nothing about models, steps or files. A process alone is a world of one, whose messages cost
nothing. Sums run in rank order inside gloo and NCCL, so the same world gives the same bits again.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stead.core.errors import ConfigError, ProcessError

T = TypeVar("T")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe",
         "NCCL communicator was aborted", "remote process exited")  # fmt: skip
_BUCKET = 1 << 24  # float32 numbers that travel together: 64 MiB


@dataclass(frozen=True, slots=True)
class World:
    """`size` processes, of which this is number `rank`. All must call the same methods in turn."""

    rank: int = 0
    size: int = 1
    sharded: bool = False  # layers are spread over the processes: training/sharded

    @classmethod
    def join(cls, *, sharded: bool = False, device: str = "cpu") -> "World":
        """Join the world that torchrun's variables name, or be alone when there are none.

        On cuda each process gets a card of its own, which "cuda" means from then on; numbers and texts
        go through the processors all the same. Raises: ConfigError("too-few-cards").
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if device == "cuda":
            _take_card(size)
        if not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
        return cls(dist.get_rank(), size, sharded)

    @property
    def leads(self) -> bool:
        """Say whether this process writes files and events."""
        return self.rank == 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say it when another process is gone; the collective's own words name a socket.

        Raises: ProcessError("worker-died") with the launcher's status, so that all are started again.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(word in str(error) for word in _LOST):
                raise
            raise ProcessError(
                "worker-died", f"one of the {self.size} processes of the run is gone", status=1
            ) from error

    def leave(self) -> None:
        """End the connection; calling it twice is allowed."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def mine(self, items: Sequence[T]) -> list[T]:
        """Return every `size`-th item, beginning with this rank's."""
        return list(items[self.rank :: self.size])

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each float32 tensor by its sum over all processes, in place."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            dist.all_reduce(flat)
            for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def add_numbers(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums of some numbers over all processes, in float64."""
        if self.size == 1:
            return list(numbers)
        together = torch.tensor(list(numbers), dtype=torch.float64)
        dist.all_reduce(together)
        return [float(x) for x in together]

    def any(self, flag: bool) -> bool:
        """Say whether any process says yes: a signal may reach them at different steps."""
        return self.add_numbers([float(flag)])[0] > 0

    def union(self, names: Iterable[str]) -> list[str]:
        """Return every name that any process has, sorted."""
        if self.size == 1:
            return sorted(names)
        return sorted(
            {n for some in self.tell(json.dumps(sorted(names))) for n in json.loads(some)}
        )

    def tell(self, text: str) -> list[str]:
        """Return everybody's text, in rank order. Bytes travel: torch's own way would be pickle."""
        own = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([own.numel()]))
        longest = max(int(n) for n in lengths)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(texts, torch.nn.functional.pad(own, (0, longest - own.numel())))
        return [bytes(t[: int(n)].tolist()).decode() for t, n in zip(texts, lengths, strict=True)]

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.add_numbers([0.0])

    @contextmanager
    def first(self) -> Iterator[None]:
        """Let the leader run the block before the others: what it writes, they find."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


def _take_card(size: int) -> None:
    """Make this process's own card the one that "cuda" means. Raises: ConfigError("too-few-cards")."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    cards = torch.cuda.device_count()
    if here > cards:  # two processes on one card are refused by NCCL, in words of its own
        raise ConfigError(
            "too-few-cards",
            f"launch.processes is {here}, but there are {cards} cards, and each process needs its own",
            hint=f"stead train RECIPE -s launch.processes={max(1, cards)}",
        )
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > _BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket
