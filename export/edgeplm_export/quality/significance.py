"""How far a difference between two variants on the same rows can be chance: McNemar's test, the paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgeplm_export.quality.metrics import Array, Metric


CONFIDENCE = 0.95  # of each bound alone
RESAMPLES = 1000  # 50 of them lie beyond each bound: the bound moves by a twentieth of the interval between seeds
SEED = 20261125
BATCH_VALUES = 2**23  # rows of all resamples that are drawn at once: 64 MB
# What can be unseen at 95 %: a flip that no row of n shows happens in less than 3 / n of them (Hanley and
# Lippman-Hand 1983, JAMA 249:1743). The bootstrap alone would call three equal rows a proof.
UNSEEN = 3.0
DEFINED = 0.9  # share of the resamples in which the metric must exist


@dataclass(frozen=True, kw_only=True)
class Difference:
    """fp32 minus variant: a positive `drop` is a loss. Each of `low` and `high` holds with 95 %.

    `p` is the chance of such a drop, or a larger one, between variants of the same quality; `beyond` that of such a
    drop, or a smaller one, where max_drop is lost. All are NaN where the metric is not defined.
    """

    before: float
    after: float
    drop: float
    low: float
    high: float
    p: float
    beyond: float


def compare(metric: Metric, gold: Array, before: Array, after: Array, *, max_drop: float = 0.0) -> Difference:
    """The difference of a metric between two variants' answers to the same n rows, each (n, …)."""
    scale = float(np.var(gold.astype(np.float64))) if metric.error else 1.0

    def drop(rows: Array) -> float:
        first, second = metric.value(gold[rows], before[rows]), metric.value(gold[rows], after[rows])
        return (second - first) / scale if metric.error else first - second

    size = len(gold)
    everything = np.arange(size)
    value_before, value_after, observed = metric.value(gold, before), metric.value(gold, after), drop(everything)
    nowhere = Difference(
        before=value_before, after=value_after, drop=observed, low=np.nan, high=np.nan, p=np.nan, beyond=np.nan
    )
    if not np.isfinite(observed) or size < 2:
        return nowhere
    if np.array_equal(before, after):
        drops: NDArray[np.float64] = np.zeros(1)
    elif metric.per_example:
        lost = (gold == before).astype(np.float64) - (gold == after)
        drops = _resampled(lost, np.mean, vectorized=True)
    else:
        drops = _resampled(everything, drop, vectorized=False)
    kept = drops[np.isfinite(drops)]
    if len(kept) < DEFINED * len(drops):
        return nowhere
    low, high = (float(np.quantile(kept, q)) for q in (1 - CONFIDENCE, CONFIDENCE))
    beyond = float((1 + (kept > max_drop).sum()) / (1 + len(kept))) if len(kept) > 1 else float(observed > max_drop)
    if metric.counts:
        rows = _rows_that_count(metric, gold)
        unseen = UNSEEN / rows
        low, high = min(low, observed - unseen), max(high, observed + unseen)
        beyond = max(beyond, float(np.exp((min(observed, max_drop) - max_drop) * rows)))  # UNSEEN is this at 5 %
    p = (
        mcnemar(gold == before, gold == after)
        if metric.per_example
        else float((1 + (kept <= 0).sum()) / (1 + len(kept)))
    )
    return Difference(
        before=value_before, after=value_after, drop=observed, low=low, high=high, p=min(1.0, p), beyond=beyond
    )


def mcnemar(right_before: Array, right_after: Array) -> float:
    """McNemar's exact test, one-sided: the chance that of the rows which changed so many, or more, got wrong."""
    lost = int((right_before.astype(bool) & ~right_after.astype(bool)).sum())
    won = int((~right_before.astype(bool) & right_after.astype(bool)).sum())
    return float(stats.binomtest(lost, lost + won, alternative="greater").pvalue) if lost + won else 1.0


def holm(chances: Sequence[float], tests: int) -> NDArray[np.float64]:
    """Chances corrected for the number of tests on the same rows (Holm 1979, Scandinavian J. Statistics 6:65).

    `tests` are as many as the chances, or more: those that are not listed count as lost ones.
    """
    order = np.argsort(chances)
    found = np.empty(len(chances))
    found[order] = np.maximum.accumulate(np.asarray(chances)[order] * (tests - np.arange(len(chances)))).clip(max=1.0)
    return found


def _resampled(data: Array, statistic: object, *, vectorized: bool) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        found = stats.bootstrap(
            (data,),
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, BATCH_VALUES // len(data)),
            vectorized=vectorized,
            method="percentile",
            rng=np.random.default_rng(SEED),
        )
    return np.asarray(found.bootstrap_distribution, dtype=np.float64)


def _rows_that_count(metric: Metric, gold: Array) -> float:
    """Where a figure is about the rarer of two labels, its rows decide, twice their number at most."""
    if metric.name in ("f1", "matthews"):
        counts = np.unique(gold, return_counts=True)[1]
        if len(counts) == 2:
            return float(2 * counts.min())
    return float(len(gold))
