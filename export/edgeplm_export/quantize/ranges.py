"""RANGES: how the range of a tensor, and from it one uint8 scale and zero point, is found from calibration data.

All methods read the same summary of constant size, so that memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


BINS = 4096
LEVELS = 255
AVERAGING = 0.05  # weight of a new batch in a moving average
PERCENTILE = 99.999  # less cuts into the outlier channels, which a BERT's answer hangs on
CANDIDATES = np.linspace(0.2, 1.0, 81)
ENTROPY_LEVELS = 256
SMALLEST_SCALE = 1e-8  # a tensor that is constantly 0 has no range


@dataclass
class Summary:
    """What is kept of a tensor: extremes, their moving averages, and a histogram over [-reach, reach].

    `reach` is a power of two that doubles, two bins becoming one, when a larger value comes.
    """

    low: float = 0.0
    high: float = 0.0
    average_low: float | None = None
    average_high: float = 0.0
    reach: float = 2.0**-10
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    def add(self, values: NDArray[np.float32]) -> None:
        """Take in values of any shape."""
        low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.average_low is None:
            self.average_low, self.average_high = low, high
        self.average_low += AVERAGING * (low - self.average_low)
        self.average_high += AVERAGING * (high - self.average_high)
        while max(-low, high) > self.reach:
            self._widen()
        scaled = (values.reshape(-1) + self.reach) * (BINS / (2 * self.reach))
        bins = np.minimum(scaled.astype(np.int32), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def _widen(self) -> None:
        pairs = self.counts.reshape(BINS // 2, 2).sum(axis=1)
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.counts[BINS // 4 : BINS // 4 + BINS // 2] = pairs
        self.reach *= 2

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, (BINS,)."""
        width = 2 * self.reach / BINS
        return (-self.reach + width * (np.arange(BINS) + 0.5)).astype(np.float64)


Range = tuple[float, float]


def min_max(summary: Summary) -> Range:
    """Everything that was seen."""
    return summary.low, summary.high


def moving_average(summary: Summary) -> Range:
    """The extremes of a batch, averaged over the batches: a single odd text does not decide."""
    assert summary.average_low is not None
    return summary.average_low, summary.average_high


def percentile(summary: Summary) -> Range:
    """All but the outermost thousandth of a percent on each side."""
    shares = np.cumsum(summary.counts) / max(1, summary.counts.sum())
    tail = 1.0 - PERCENTILE / 100
    low = float(summary.centres[np.searchsorted(shares, tail)])
    high = float(summary.centres[min(BINS - 1, int(np.searchsorted(shares, 1.0 - tail)))])
    return min(low, 0.0), max(high, 0.0)


def mean_squared_error(summary: Summary) -> Range:
    """The range whose rounding and cutting together move the values least, by a scan over shrunken ranges."""
    return min(_shrunken(summary), key=lambda candidate: _rounding_error(summary, candidate))


def entropy(summary: Summary) -> Range:
    """The range whose quantized histogram tells most of the real one: least KL divergence (Migacz, GTC 2017)."""
    return min(_shrunken(summary), key=lambda candidate: _divergence(summary, candidate))


RANGES: dict[str, Callable[[Summary], Range]] = {
    "mse": mean_squared_error,
    "min-max": min_max,
    "moving-average": moving_average,
    "percentile": percentile,
    "entropy": entropy,
}


def scale_and_zero_point(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """The uint8 scale and zero point of a range that includes 0. A range of one value gets the smallest scale."""
    scale = max((high - low) / LEVELS, SMALLEST_SCALE)
    return np.float32(scale), np.uint8(np.clip(np.rint(-low / scale), 0, LEVELS))


def _shrunken(summary: Summary) -> list[Range]:
    reach = max(-summary.low, summary.high)
    return [(max(summary.low, -share * reach), min(summary.high, share * reach)) for share in CANDIDATES]


def _rounding_error(summary: Summary, candidate: Range) -> float:
    scale, zero = scale_and_zero_point(*candidate)
    values = summary.centres
    rounded = (np.clip(np.rint(values / scale) + zero, 0, LEVELS) - zero) * scale
    # Within a bin values are spread evenly; a step much wider than a bin rounds them like its centre.
    return float((summary.counts * (rounded - values) ** 2).sum())


def _divergence(summary: Summary, candidate: Range) -> float:
    low, high = candidate
    inside = (summary.centres >= low) & (summary.centres <= high)
    counts = summary.counts[inside].astype(np.float64)
    if not counts.sum():
        return float("inf")
    real = counts.copy()
    below, above = summary.counts[summary.centres < low].sum(), summary.counts[summary.centres > high].sum()
    real[0] += below
    real[-1] += above
    level = np.minimum((np.arange(counts.size) * ENTROPY_LEVELS) // counts.size, ENTROPY_LEVELS - 1)
    sums = np.bincount(level, weights=counts, minlength=ENTROPY_LEVELS)
    filled = np.bincount(level, weights=counts > 0, minlength=ENTROPY_LEVELS)
    told = np.where(counts > 0, sums[level] / np.maximum(filled[level], 1), 0.0)
    p, q = real / real.sum(), told / told.sum()
    both = (p > 0) & (q > 0)
    missed = float(p[(p > 0) & (q == 0)].sum())  # where the quantized histogram has nothing at all
    return float((p[both] * np.log(p[both] / q[both])).sum()) + missed * 10.0
