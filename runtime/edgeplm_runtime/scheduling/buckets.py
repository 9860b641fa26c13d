"""Which inputs go into which batch: rows of similar length under a budget of tokens, padding counted.

Pure: lengths in, lists of positions out.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeplm_runtime.providers import CALL_TOKENS, TOKEN_BUDGET, Profile


STREAM_WINDOW = 512  # inputs; little memory
LARGEST_WINDOW = 8192  # whatever the budget is: a stream must not read all of its source before it answers
SHORTEST_BUCKET = 16  # tokens: below it every text costs the same on a device that compiles for shapes


def plan(lengths: Sequence[int], *, budget: int = TOKEN_BUDGET, padding: int = CALL_TOKENS) -> list[list[int]]:
    """Positions of the inputs, batch by batch; each position once.

    Rows are taken by length, longest first, so that a batch holds rows of nearly one length; rows × longest
    stays within `budget` tokens (one row alone may exceed it), and what fills up the shorter rows within `padding`
    tokens a batch. Equal lengths keep their order.
    """
    batches: list[list[int]] = []
    longest = filled = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        missing = longest - lengths[position]
        if batches and (len(batches[-1]) + 1) * longest <= budget and filled + missing <= padding:
            batches[-1].append(position)
            filled += missing
        else:
            batches.append([position])
            longest, filled = lengths[position], 0
    return batches


def window(budget: int) -> int:
    """Inputs that a list or a stream is cut into: enough to sort by length and to fill a batch with short ones."""
    return min(max(STREAM_WINDOW, budget // 8), LARGEST_WINDOW)


def length_buckets(max_length: int) -> list[tuple[int, int]]:
    """The lengths from 1 to `max_length` in ranges (first, last) that double, for a device that compiles for shapes."""
    ranges, first, last = [], 1, SHORTEST_BUCKET
    while last < max_length:
        ranges.append((first, last))
        first, last = last + 1, 2 * last
    return [*ranges, (first, max_length)]


def bucket_end(length: int, max_length: int) -> int:
    """The longest length of the bucket that `length` lies in."""
    return next((last for _, last in length_buckets(max_length) if length <= last), length)


def profiles(max_length: int, *, budget: int = TOKEN_BUDGET) -> list[Profile]:
    """For each range of lengths, the shapes that `plan` gives under this budget: no batch lies outside of them.

    Best is a full batch of the longest rows: what a list of many texts is made of.
    """
    rows = window(budget)
    return [
        Profile(
            least=(1, first),
            best=(max(1, min(rows, budget // last)), last),
            most=(max(1, min(rows, budget // first)), last),
        )
        for first, last in length_buckets(max_length)
    ]
