"""Ranges from calibration data: every method on data whose best range is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgeplm_export.quantize.ranges import LEVELS, RANGES, SMALLEST_SCALE, Summary, scale_and_zero_point


def summary_of(*batches: np.ndarray) -> Summary:
    """A summary that has seen these batches."""
    summary = Summary()
    for batch in batches:
        summary.add(batch.astype(np.float32))
    return summary


@pytest.mark.parametrize("method", RANGES)
def test_every_method_covers_data_without_outliers(method: str) -> None:
    values = np.linspace(-1.0, 3.0, 40_001)
    low, high = RANGES[method](summary_of(values))
    assert -1.05 <= low <= -0.8
    assert 2.4 <= high <= 3.05


@pytest.mark.parametrize("method", ["mse", "percentile", "entropy"])
def test_a_single_outlier_does_not_take_the_range(method: str) -> None:
    values = np.random.default_rng(0).normal(size=400_000)
    values[7] = 20.0
    _, high = RANGES[method](summary_of(values))
    assert high < 12.0
    assert RANGES["min-max"](summary_of(values))[1] == 20.0


def test_a_moving_average_lies_between_the_batches() -> None:
    low, high = RANGES["moving-average"](summary_of(np.array([-1.0, 1.0]), np.array([-3.0, 5.0])))
    assert -3.0 < low < -1.0
    assert 1.0 < high < 5.0


def test_the_histogram_keeps_every_value_while_it_widens() -> None:
    summary = summary_of(np.array([1e-5, -1e-5]), np.array([3.0]), np.array([-700.0, 900.0]))
    assert summary.counts.sum() == 5
    assert summary.reach == 1024.0
    inside = summary.counts[(summary.centres > -1) & (summary.centres < 1)]
    assert inside.sum() == 2


@pytest.mark.parametrize("method", RANGES)
def test_a_tensor_that_is_constantly_zero_has_a_usable_scale(method: str) -> None:
    scale, zero = scale_and_zero_point(*RANGES[method](summary_of(np.zeros(100))))
    assert np.isfinite(scale)
    assert scale >= SMALLEST_SCALE
    assert zero == 0


def test_zero_is_always_exact() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 5.0), (-2.0, 0.0), (-0.3, 0.001)):
        scale, zero = scale_and_zero_point(low, high)
        assert (np.float32(zero) - np.float32(zero)) * scale == 0.0
        assert 0 <= int(zero) <= LEVELS


def test_the_best_squared_error_is_not_beaten_by_the_full_range() -> None:
    values = np.random.default_rng(1).standard_t(df=3, size=100_000).astype(np.float32)
    summary = summary_of(values)

    def error(low: float, high: float) -> float:
        scale, zero = scale_and_zero_point(low, high)
        rounded = (np.clip(np.rint(values / scale) + float(zero), 0, LEVELS) - float(zero)) * scale
        return float(((rounded - values) ** 2).mean())

    assert error(*RANGES["mse"](summary)) < error(*RANGES["min-max"](summary))
