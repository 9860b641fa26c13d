"""GPTQ (Frantar et al. 2022, arXiv:2210.17323): round a weight row by row, and let the rows that are still to come make
up for each row's error on the calibration data.

ONNX Runtime carries an implementation for its own quantizer; on a MiniLM with 32 texts it had not ended after four
minutes, as it runs the graph anew for every product. This one reads the Hessians in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize._scheme import Wish
from edgeplm_export.quantize.calibration import observe


DAMPING = 0.01  # the paper's, of the Hessian's mean diagonal
HESSIAN = b"hessian"  # marks it in Wish.memory

Floats = NDArray[np.float64]
Rounding = Callable[[Floats], NDArray[np.floating[Any]]]


def hessians(model: ir.Model, names: Sequence[str], wish: Wish, work: Path) -> dict[str, Floats]:
    """The sum of xᵀx, (K, K) float64, over the calibration rows x (K,) of each named value; kept in `wish.memory`.

    Raises BadInput (no calibration data), GateFailed (a value that is not finite).
    """
    found: dict[str, Floats] = {}

    def add(name: str, rows: NDArray[np.float32]) -> None:
        product = rows.T @ rows
        found[name] = found[name] + product if name in found else product.astype(np.float64)

    unseen = [name for name in names if (name, HESSIAN) not in wish.memory]
    if unseen:
        observe(model, unseen, wish.batches, add, work=work, tell=wish.tell)
        wish.memory.update({(name, HESSIAN): hessian for name, hessian in found.items()})
    return {name: wish.memory[name, HESSIAN] for name in names}


def gptq(weight: NDArray[np.float32], hessian: Floats, block: int, rounding: Callable[[Floats], Rounding]) -> Floats:
    """The weight (K, N), rounded.

    `hessian` (K, K) is the sum of xᵀx over the calibration rows. `rounding` is called with each block of rows, (at most
    `block`, N), as the rows before left it, and gives the function that rounds a row of it, (N,).
    """
    rows, columns = weight.shape
    rest = weight.astype(np.float64).copy()
    inverse = _upper_inverse(hessian)
    found = np.empty((rows, columns))
    for start in range(0, rows, block):
        end = min(start + block, rows)
        rounded = rounding(rest[start:end])
        errors = np.zeros((end - start, columns))
        for row in range(start, end):
            found[row] = rounded(rest[row])
            errors[row - start] = (rest[row] - found[row]) / inverse[row, row]
            inside = slice(row + 1, end)
            rest[inside] -= np.outer(inverse[row, inside], errors[row - start])
        rest[end:] -= inverse[start:end, end:].T @ errors
    return found


def _upper_inverse(hessian: Floats) -> Floats:
    """The upper Cholesky factor of the damped Hessian's inverse, (K, K). Channels that were never active count as 1."""
    damped = hessian.copy()
    diagonal = np.diag_indices_from(damped)
    dead = damped[diagonal] == 0
    damped[diagonal] += np.where(dead, 1.0, DAMPING * damped[diagonal].mean())
    inverse = np.linalg.inv(damped)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float64)
