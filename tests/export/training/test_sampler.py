"""The order of the examples: every one once, similar lengths together, the same for a seed and an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from edgeplm_export.training.sampler import ByLength


LENGTHS = np.random.default_rng(0).integers(3, 60, 1001).tolist()


@pytest.mark.parametrize("size", [1, 7, 32, 2000])
def test_every_example_comes_once(size: int) -> None:
    assert sorted(ByLength(LENGTHS, size, 0)) == list(range(1001))


def test_an_epoch_has_its_own_order_and_always_the_same() -> None:
    one, other = ByLength(LENGTHS, 32, 0), ByLength(LENGTHS, 32, 0)
    first = list(one)
    one.set_epoch(1)
    second = list(one)
    assert first != second
    other.set_epoch(1)
    assert list(other) == second
    assert list(ByLength(LENGTHS, 32, 1)) != first


def test_a_batch_holds_lengths_that_are_alike() -> None:
    order = list(ByLength(LENGTHS, 32, 0))
    batches = [[LENGTHS[i] for i in order[start : start + 32]] for start in range(0, 992, 32)]
    spread = np.mean([max(batch) - min(batch) for batch in batches])
    assert spread < 5  # of lengths from 3 to 59: a random batch has 55


def test_nothing_gives_nothing() -> None:
    assert list(ByLength([], 4, 0)) == []
