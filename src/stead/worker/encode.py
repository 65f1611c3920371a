"""Encodes rows for another process: `python -m stead.worker.encode`, the order and then rows on stdin.

Knows nothing about files or where rows come from; `data/encode_pool` starts it. It ends with its input, and at the
first batch it cannot do, which its parent then does itself.
"""

import signal
import sys
from pathlib import Path

import msgspec

from stead.data.encode_pool import Order, answer, read_frame, write_frame
from stead.data.examples import Encoder
from stead.data.template import ChatTemplate
from stead.data.tokenizer import TextTokenizer


def main() -> int:
    """Answer frame after frame."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us by closing our input
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    first = read_frame(source)
    if first is None:
        return 0
    order = msgspec.msgpack.decode(first, type=Order)
    folder = Path(order.model_folder)
    encoder = Encoder(
        TextTokenizer.open(folder), ChatTemplate.open(folder), train_on=order.train_on,
        max_length=order.max_length, as_text=order.as_text, whole_documents=order.whole_documents,
    )  # fmt: skip
    while (frame := read_frame(source)) is not None:
        write_frame(sink, answer(encoder, frame))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
