"""Batches of similar length in an order that depends on the seed and the epoch only: a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


POOL_BATCHES = 32  # batches that are sorted together: lengths match, and the order still changes with the epoch


class ByLength(Sampler[int]):
    """Positions of the examples: shuffled, sorted by length within pools, their batches shuffled again."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """`lengths` in tokens, one for each example."""
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the start of each epoch, of a resumed one too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths))
        pool = POOL_BATCHES * self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[i : i + self.batch_size].tolist() for i in range(0, len(part), self.batch_size)]
        # A short batch stays last: elsewhere it would shift the borders of all batches behind it.
        short = batches.pop() if batches and len(batches[-1]) < self.batch_size else []
        for place in generator.permutation(len(batches)):
            yield from batches[place]
        yield from short
