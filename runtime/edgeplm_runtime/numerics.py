"""Small exact functions on numpy arrays that several device modules share.

Knows nothing of models, tasks or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeplm_runtime.errors import BadInput, BadInputType


Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis: logits (..., labels) float32 → the same shape, summing to 1."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def sigmoid(logits: Floats) -> Floats:
    """Independent probabilities: logits of any shape, float32 → the same shape, each in [0, 1].

    Written with exp(-|x|), which cannot overflow and keeps the digits of small probabilities.
    """
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, np.float32(1), small) / (1 + small), dtype=np.float32)


def pad(rows: Sequence[Sequence[int]], value: int, *, left: bool, length: int | None = None) -> Ids:
    """The rows as one array (rows, longest) int64, filled up with `value` on the side that is asked for."""
    lengths = [len(row) for row in rows]
    width = max(lengths, default=0) if length is None else length
    out = np.full((len(rows), width), value, dtype=np.int64)
    # All numbers in one go: an array made of each row takes three times as long.
    out[real(lengths, width, left=left)] = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=sum(lengths))
    return out


def real(lengths: Sequence[int], width: int, *, left: bool) -> NDArray[np.bool_]:
    """Which places of the padded rows hold a token: (rows, width)."""
    counts, places = np.asarray(lengths, dtype=np.int64)[:, None], np.arange(width)
    return places >= width - counts if left else places < counts


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of each pair of rows: a, b (rows, dim) → (rows,) float64; two zero rows count as equal (1)."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(wide_a, axis=-1) * np.linalg.norm(wide_b, axis=-1)
    dots = (wide_a * wide_b).sum(axis=-1)
    both_zero = ~wide_a.any(axis=-1) & ~wide_b.any(axis=-1)
    return np.where(both_zero, 1.0, np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0))


def integers(name: str, value: ArrayLike) -> NDArray[np.int64]:
    """The values as a contiguous native int64 array; booleans and integers of any width, floats only if whole."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise BadInput(f"{name} has rows of different lengths; pad them to one length first.") from None
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.trunc(array)).any():
            raise BadInputType(f"{name} holds fractions or values that are not finite; expected whole numbers.")
    elif array.dtype.kind not in "iub":
        raise BadInputType(f"{name} has the type {array.dtype}; expected integers.")
    if array.dtype.kind in "fu" and (np.abs(array) >= 2**63).any():
        raise BadInput(f"{name} holds {np.abs(array).max()}, which no 64-bit integer can hold.")
    return np.asarray(array, dtype=np.int64, order="C")
