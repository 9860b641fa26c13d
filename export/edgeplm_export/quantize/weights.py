"""int8 weights: signed, symmetric, one scale a column.

Per column, because one scale for a whole weight costs MiniLM .994 → .959 of cosine at the same speed; signed,
because on x86 only uint8 activations × int8 weights are fast (docs/decisions/0005-int8.md). Of 7 bits, because CPUs
with AVX2 and no VNNI add pairs of products in int16, which saturates: 2 × 255 × 63 fits, 2 × 255 × 127 does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


WEIGHT_BITS = (8, 7)  # what `--set weight_bits=` takes, the default first


def per_column(weight: NDArray[np.float32], bits: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers (K, N) int8 and scales (N,) float32 with weight ≈ integers × scales. A column of zeros has scale 1.

    Integers of 8 bits reach from -127 to 127, those of 7 from -63 to 63.
    """
    largest = 2 ** (bits - 1) - 1
    scales = np.abs(weight).max(axis=0) / largest
    scales[scales == 0] = 1.0
    integers = np.clip(np.rint(weight / scales), -largest, largest).astype(np.int8)
    return integers, scales.astype(np.float32)


def used_channels(weight: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the K input channels the weight (K, N) reads at all: a range need not cover the others."""
    used: NDArray[np.bool_] = np.abs(weight).max(axis=1) > 0
    return used if used.any() else np.ones_like(used)
