"""Weights once more, laid out so that a product of few rows reads them once, in order.

Knows nothing about layers. Legend: T rows, K inputs, N outputs. oneDNN's prepared product takes hardly
longer for 16 rows than for 2, and half of W·xᵀ's time (docs/log.md). In float32 each row's bits are the
same for any number of rows from 2 on: every output is one running sum over K. In bf16 they are not, so
only float32 is laid out.
"""

import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from stead.models.writing.steps import rows_by_matrix

if TYPE_CHECKING:
    from torch import Tensor

_X86 = ("x86_64", "AMD64")  # where the bits have been looked at


class Panels:
    """Second copies of matrices, which must not change while this lives.

    `limit_bytes` bounds them all together: where they would not fit, none is made, and products are
    those of `steps.rows_by_matrix`.
    """

    def __init__(self, matrices: "Sequence[Tensor]", limit_bytes: int) -> None:
        self._laid: dict[int, Tensor] = {}
        wanted = sum(m.nbytes for m in matrices)
        if wanted > limit_bytes or not all(m.dtype == torch.float32 for m in matrices):
            return
        if platform.machine() in _X86 and torch.backends.mkldnn.is_available():
            for matrix in matrices:
                laid = torch.ops.mkldnn._reorder_linear_weight(matrix.detach(), None)
                self._laid[id(matrix)] = laid

    def __bool__(self) -> bool:
        return bool(self._laid)

    def times(self, x: "Tensor", matrix: "Tensor") -> "Tensor":
        """Return x·Wᵀ. One row takes its own product, which rounds otherwise. Shapes: [T, K] → [T, N]."""
        laid = self._laid.get(id(matrix))
        if laid is None or len(x) == 1:
            return rows_by_matrix(x, matrix)
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, laid, None, "none", [], "")
        return found
