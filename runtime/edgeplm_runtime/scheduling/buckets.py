"""Which inputs go into which batch: rows of similar length under a budget of tokens, padding counted.

Pure: lengths in, lists of positions out.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeplm_runtime.providers import Profile


# Best for ONNX Runtime's fp32 kernels between 512 and 1024 (docs/benchmarks.md); a smaller budget pays more
# for each call, a larger one falls out of the cache.
TOKEN_BUDGET = 1024
SHORTEST_BUCKET = 16  # tokens: below it every text costs the same on a device that compiles for shapes


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


def length_buckets(max_length: int) -> list[tuple[int, int]]:
    """The lengths from 1 to `max_length` in ranges (first, last) that double, for a device that compiles for shapes."""
    ranges, first, last = [], 1, SHORTEST_BUCKET
    while last < max_length:
        ranges.append((first, last))
        first, last = last + 1, 2 * last
    return [*ranges, (first, max_length)]


def profiles(max_length: int, *, budget: int = TOKEN_BUDGET) -> list[Profile]:
    """For each range of lengths, the shapes that `plan` gives under this budget: no batch lies outside of them.

    Best is a full batch of the longest rows: what a list of many texts is made of.
    """
    return [
        Profile(least=(1, first), best=(max(1, budget // last), last), most=(max(1, budget // first), last))
        for first, last in length_buckets(max_length)
    ]
