"""Which inputs go into which batch: rows of similar length under a budget of tokens, padding counted.

Pure: lengths in, lists of positions out.
"""

from __future__ import annotations

from collections.abc import Sequence


# Best for ONNX Runtime's fp32 kernels between 512 and 1024 (docs/benchmarks.md); a smaller budget pays more
# for each call, a larger one falls out of the cache.
TOKEN_BUDGET = 1024


def plan(lengths: Sequence[int], *, budget: int = TOKEN_BUDGET) -> list[list[int]]:
    """Positions of the inputs, batch by batch; each position once.

    Rows are taken by length, longest first, so that a batch holds rows of nearly one length; rows × longest
    stays within `budget` tokens (one row alone may exceed it). Equal lengths keep their order.
    """
    batches: list[list[int]] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and (len(batches[-1]) + 1) * longest <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
            longest = lengths[position]
    return batches
