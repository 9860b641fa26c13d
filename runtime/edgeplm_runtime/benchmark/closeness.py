"""How near two candidates' answers to the same rows are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.benchmark.records import Closeness
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.numerics import cosine


Vectors = NDArray[np.floating]
EXACT = 0.999  # the smallest cosine that float32 work may have; what is below is said


def pooled(output: Vectors, mask: NDArray[np.int64]) -> Vectors:
    """Hidden states (rows, tokens, hidden), mask (rows, tokens) → unit mean vectors (rows, hidden); (rows, n) as is."""
    if output.ndim == 2:
        return output
    weights = mask[..., None].astype(np.float64)
    mean = (output * weights).sum(axis=1) / weights.sum(axis=1)
    unit: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return unit


def closeness(to: str, wanted: Sequence[Vectors], found: Sequence[Vectors]) -> Closeness:
    """Two candidates' vectors or logits (rows, n), cell by cell. Raises BadInput where the shapes differ."""
    cosines = []
    for a, b in zip(wanted, found, strict=True):
        if a.shape != b.shape:
            raise BadInput(f"it answers with the shape {b.shape}, {to} with {a.shape}")
        cosines.append(cosine(a, b))
    rows = np.concatenate(cosines)
    return Closeness(to=to, rows=len(rows), mean_cosine=float(rows.mean()), min_cosine=float(rows.min()))
