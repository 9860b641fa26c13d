"""The slice of the data on which a variant loses most: by gold label, and by length. Shown beside the mean, not judged.

Not judged, because the worst of many small slices is bad by chance alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quality.metrics import Array, Metric


MIN_SLICE = 10
LENGTH_SLICES = ("short", "middle", "long")


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the data: the figure of both variants on it, and the loss. By label the figure is the recall."""

    name: str
    metric: str
    n: int
    before: float
    after: float
    drop: float


def worst_slice(
    metric: Metric, gold: Array, before: Array, after: Array, *, lengths: NDArray[np.int64], labels: Sequence[str]
) -> Slice | None:
    """The slice of 10 rows or more with the largest loss; None where no slice is large enough.

    gold, before, after: (n, …) as the metrics take them; lengths (n,) in tokens.
    """
    found = all_slices(metric, gold, before, after, lengths=lengths, labels=labels)
    return max(found, key=lambda part: part.drop, default=None)


def all_slices(
    metric: Metric,
    gold: Array,
    before: Array,
    after: Array,
    *,
    lengths: NDArray[np.int64],
    labels: Sequence[str],
    columns: Mapping[str, Sequence[str]] | None = None,
) -> list[Slice]:
    """Every slice of 10 rows or more: by label, by length, and by the values of the given columns (n,)."""
    found = [*_by_label(gold, before, after, labels), *_by_length(metric, gold, before, after, lengths)]
    for column, values in (columns or {}).items():
        found += _by_value(metric, gold, before, after, column, values)
    return found


def _by_label(gold: Array, before: Array, after: Array, labels: Sequence[str]) -> Iterator[Slice]:
    if gold.dtype.kind not in "ib" or (gold.ndim == 1 and gold.dtype.kind == "b"):
        return  # values and pairs have no labels
    for position, label in enumerate(labels):
        rows = gold[:, position].astype(bool) if gold.ndim == 2 else gold == position
        if rows.sum() < MIN_SLICE:
            continue
        shares = [
            float((answer[rows, position] if gold.ndim == 2 else answer[rows] == position).mean())
            for answer in (before, after)
        ]
        yield _slice(f"label {label}", "recall", int(rows.sum()), *shares, error=False, scale=1.0)


def _by_length(metric: Metric, gold: Array, before: Array, after: Array, lengths: NDArray[np.int64]) -> Iterator[Slice]:
    bounds = np.quantile(lengths, [0, 1 / 3, 2 / 3, 1], method="higher")
    scale = float(np.var(gold.astype(np.float64))) if metric.error else 1.0
    for index, name in enumerate(LENGTH_SLICES):
        low, high = int(bounds[index]) + (1 if index else 0), int(bounds[index + 1])
        rows = (lengths >= low) & (lengths <= high)
        if rows.sum() < MIN_SLICE:
            continue
        values = [metric.value(gold[rows], answer[rows]) for answer in (before, after)]
        if np.isfinite(values).all():
            full = f"{name} texts, {low} to {high} tokens"
            yield _slice(full, metric.name, int(rows.sum()), *values, error=metric.error, scale=scale)


def _by_value(
    metric: Metric, gold: Array, before: Array, after: Array, column: str, values: Sequence[str]
) -> Iterator[Slice]:
    scale = float(np.var(gold.astype(np.float64))) if metric.error else 1.0
    for value in dict.fromkeys(values):
        rows = np.asarray([other == value for other in values])
        if rows.sum() < MIN_SLICE:
            continue
        shares = [metric.value(gold[rows], answer[rows]) for answer in (before, after)]
        if np.isfinite(shares).all():
            yield _slice(f"{column}={value}", metric.name, int(rows.sum()), *shares, error=metric.error, scale=scale)


def _slice(name: str, metric: str, n: int, before: float, after: float, *, error: bool, scale: float) -> Slice:
    drop = (after - before) / scale if error else before - after
    return Slice(name=name, metric=metric, n=n, before=before, after=after, drop=drop)
