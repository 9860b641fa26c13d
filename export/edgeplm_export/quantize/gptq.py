"""GPTQ (Frantar et al. 2022, arXiv:2210.17323): round a weight row by row, and let the rows that are still to come make
up for each row's error on the calibration data.

ONNX Runtime carries an implementation for its own quantizer; on a MiniLM with 32 texts it had not ended after four
minutes, as it runs the graph anew for every product. This one reads the Hessians in one pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


DAMPING = 0.01  # the paper's, of the Hessian's mean diagonal
LEVELS = 15


def gptq(
    weight: NDArray[np.float32], hessian: NDArray[np.float64], block: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """4-bit integers (K, N) from 0 to 15, scales and zero points (K / block, N) with weight ≈ (integer - zero) × scale.

    `hessian` (K, K) is the sum of xᵀx over the calibration rows. K must be a multiple of `block`.
    """
    rows, columns = weight.shape
    rest = weight.astype(np.float64).copy()
    inverse = _upper_inverse(hessian)
    integers = np.zeros((rows, columns), dtype=np.uint8)
    scales = np.ones((rows // block, columns), dtype=np.float32)
    zeros = np.zeros((rows // block, columns), dtype=np.uint8)
    for start in range(0, rows, block):
        part = slice(start, start + block)
        scale, zero = _grid(rest[part])
        scales[start // block], zeros[start // block] = scale, zero
        errors = np.zeros((block, columns))
        for offset in range(block):
            row = start + offset
            found = np.clip(np.rint(rest[row] / scale) + zero, 0, LEVELS)
            integers[row] = found.astype(np.uint8)
            errors[offset] = (rest[row] - (found - zero) * scale) / inverse[row, row]
            inside = slice(row + 1, start + block)
            rest[inside] -= np.outer(inverse[row, inside], errors[offset])
        after = slice(start + block, rows)
        rest[after] -= inverse[part, after].T @ errors
    return integers, scales, zeros


def _grid(part: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scale and zero point of each column of a block, (N,), over its own range and 0."""
    low, high = np.minimum(part.min(axis=0), 0.0), np.maximum(part.max(axis=0), 0.0)
    scale = np.where(high > low, (high - low) / LEVELS, 1.0).astype(np.float32)
    return scale, np.clip(np.rint(-low / scale), 0, LEVELS).astype(np.uint8)


def _upper_inverse(hessian: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper Cholesky factor of the damped Hessian's inverse, (K, K). Channels that were never active count as 1."""
    damped = hessian.copy()
    diagonal = np.diag_indices_from(damped)
    dead = damped[diagonal] == 0
    damped[diagonal] += np.where(dead, 1.0, DAMPING * damped[diagonal].mean())
    inverse = np.linalg.inv(damped)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float64)
