"""What int8 does to a product, in numbers: for conditioners to compare, and for biases to make up for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize.ranges import LEVELS, scale_and_zero_point
from edgeplm_export.quantize.weights import WEIGHT_BITS, per_column


def product_offsets(
    rows: NDArray[np.float32], weight: NDArray[np.float32], low: float, high: float, bits: int = WEIGHT_BITS[0]
) -> NDArray[np.float32]:
    """How far the int8 product of rows (rows, K), rounded in [low, high], and weight (K, N) is off: (rows, N).

    `bits`: those of the weight's integers.
    """
    scale, zero = scale_and_zero_point(low, high)
    rounded = (np.clip(np.rint(rows / scale) + np.float32(zero), 0, LEVELS) - np.float32(zero)) * scale
    integers, scales = per_column(weight, bits)
    off: NDArray[np.float32] = rounded @ (integers.astype(np.float32) * scales) - rows @ weight
    return off


def squared_offset(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """The sum of their squares, with a range that holds every value."""
    low, high = float(rows.min(initial=0.0)), float(rows.max(initial=0.0))
    return float((product_offsets(rows, weight, low, high) ** 2).sum())
