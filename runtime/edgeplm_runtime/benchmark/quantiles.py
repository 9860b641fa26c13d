"""Quantiles of latencies with distribution-free intervals, from numpy alone: a device has no scipy.

The interval is the classical one of order statistics (Conover, Practical Nonparametric Statistics, 3.2): the ranks
between which the true quantile lies by the binomial distribution. It takes the calls as independent; where the machine
drifts they are not, and the spread between turns says how far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.benchmark.records import Figure


CONFIDENCE = 0.95


def figure(samples_ms: Sequence[float], quantile: float) -> Figure:
    """The quantile (0 to 1) of at least one sample, with its interval."""
    ordered = np.sort(np.asarray(samples_ms, dtype=np.float64))
    low, high = ranks(len(ordered), quantile)
    return Figure(
        # A sample, as the bounds are: between two of them p99.9 could lie below its own lower bound.
        ms=float(np.quantile(ordered, quantile, method="inverted_cdf")),
        low_ms=None if low is None else float(ordered[low]),
        high_ms=None if high is None else float(ordered[high]),
    )


def ranks(count: int, quantile: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Positions (from 0) in the ordered samples that bound the quantile, each missed with (1 - confidence) / 2."""
    miss = (1 - confidence) / 2
    below = _binomial(count, quantile)  # below[k]: chance that the sample at k lies above the quantile
    low = int(np.searchsorted(below, miss, side="right")) - 1
    high = int(np.searchsorted(below, 1 - miss, side="left"))
    return (low if low >= 0 else None), (high if high < count else None)


def spread(turn_medians: Sequence[float]) -> float:
    """The distance of the 10 % and 90 % quantiles as a share of the median; 0 for one turn."""
    low, middle, high = np.quantile(np.asarray(turn_medians, dtype=np.float64), (0.1, 0.5, 0.9))
    return float((high - low) / middle)


def _binomial(count: int, p: float) -> NDArray[np.float64]:
    """The cumulative binomial distribution at 0 … count."""
    steps = np.arange(count, dtype=np.float64)
    logs = np.concatenate(([0.0], np.log((count - steps) / (steps + 1)) + math.log(p / (1 - p))))
    chances: NDArray[np.float64] = np.exp(count * math.log1p(-p) + np.cumsum(logs))
    return np.minimum(np.cumsum(chances), 1.0)
