"""Intervals of quantiles, held to scipy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeplm_runtime.benchmark.quantiles import figure, ranks, spread


@pytest.mark.parametrize("count", [1, 5, 6, 12, 50, 100, 368, 1000, 5000])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99, 0.999])
def test_the_ranks_are_those_of_scipys_quantile_test(count: int, quantile: float) -> None:
    found = stats.quantile_test(np.arange(count, dtype=float), q=0, p=quantile).confidence_interval(0.95)
    low, high = ranks(count, quantile)
    assert (low is None) == math.isnan(found.low)
    assert (high is None) == math.isnan(found.high)
    assert low is None or low == found.low
    assert high is None or high == found.high


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = figure(rng.exponential(1.0, 60).tolist(), 0.5)
        assert found.low_ms is not None
        assert found.high_ms is not None
        held += found.low_ms <= math.log(2) <= found.high_ms
    assert held >= 0.92 * 400  # 95 % and more is meant; 400 trials scatter by 1 %


def test_too_few_calls_leave_the_bound_open_and_the_figure_never_leaves_its_interval() -> None:
    found = figure([3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0, 8.0], 0.999)
    assert found.ms == 8.0
    assert found.high_ms is None
    assert found.low_ms is not None
    assert found.low_ms <= found.ms


def test_spread_is_a_share_of_the_median_and_nothing_for_one_turn() -> None:
    assert spread([2.0]) == 0
    assert spread([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0]) == pytest.approx(2.0)
