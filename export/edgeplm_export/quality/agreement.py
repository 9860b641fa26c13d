"""How a variant's answers to real texts differ from fp32's, where no label says which is right; and the floors."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from edgeplm_export.quality.data import Data
from edgeplm_export.quality.predictions import Predictions
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.numerics import cosine


SHOWN_FLIPS = 5


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What one precision may differ from fp32 on real text.

    `flips`: share of the clear answers that turn into another; clear is an answer whose logit leads by `margin`.
    `kl`: mean divergence of the probabilities, nats. `cosine`: mean over the vectors. `shift`: of a regression, the
    root mean square change over the spread (standard deviation) of fp32's answers.
    """

    flips: float
    margin: float
    kl: float
    cosine: float
    shift: float


# Measured on nine real checkpoints (docs/decisions/0014-quality-gate.md). Worst int8: 4 of 858 clear answers turned,
# KL .0040, mean cosine .989. Worst fp16: no clear answer turned, KL 2e-7, mean cosine .9999994. The margins are those
# of the parity gate. `shift` is not measured yet. A precision without a row is judged as int8.
FLOORS = {
    "fp32": Floor(flips=0.0, margin=2e-4, kl=1e-6, cosine=0.99999, shift=1e-3),
    "fp16": Floor(flips=0.0, margin=4e-2, kl=1e-5, cosine=0.9999, shift=1e-2),
    "int8": Floor(flips=0.01, margin=0.5, kl=1e-2, cosine=0.98, shift=0.1),
}


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """An example whose answer turned; `was` and `now` are labels. Its text stays out of the bundle."""

    row: int
    was: str
    now: str


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """A variant against fp32 on n texts. What a task does not have is None.

    `flips` counts all texts whose best label turned (for label sets: whose set turned), `clear_flips` those of the
    `clear` texts on which fp32's own lead exceeds the floor's margin. `problem` says which floor does not hold.
    """

    n: int
    problem: str | None
    flips: int | None = None
    clear: int | None = None
    clear_flips: int | None = None
    kl: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    shift: float | None = None
    examples: tuple[Flip, ...] = ()


def agree(data: Data, manifest: Manifest, precision: str, before: Predictions, after: Predictions) -> Agreement:
    """Compare the variant's answers (`after`) with fp32's (`before`), judged by the floor of the precision."""
    floor = FLOORS.get(precision, FLOORS["int8"])
    if before.logits is None or after.logits is None:
        return _vectors(len(data.rows), floor, before, after)
    labels = manifest.labels or ()
    if len(labels) == 1 or manifest.problem_type == "regression":
        return _values(len(data.rows), floor, before.logits, after.logits)
    several = manifest.problem_type == "multi_label_classification"
    return _labels(data, labels, floor, before.logits, after.logits, several=several)


def _labels(
    data: Data,
    labels: tuple[str, ...],
    floor: Floor,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    *,
    several: bool,
) -> Agreement:
    """Logits (n, labels) against logits: flips and divergence."""
    wide_before, wide_after = before.astype(np.float64), after.astype(np.float64)
    if several:
        turned = ((before > 0) != (after > 0)).any(axis=1)
        lead = np.abs(before).min(axis=1)
        # Each label is a coin of its own: the divergences of the coins add up.
        logs = [(special.log_expit(x), special.log_expit(-x)) for x in (wide_before, wide_after)]
        terms = sum(np.exp(p) * (p - q) for p, q in zip(*logs, strict=True))
        kl = float(np.asarray(terms).sum(axis=1).mean())
    else:
        turned = before.argmax(axis=1) != after.argmax(axis=1)
        top = np.sort(before, axis=1)
        lead = top[:, -1] - top[:, -2]
        p, q = special.log_softmax(wide_before, axis=1), special.log_softmax(wide_after, axis=1)
        kl = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    clear = lead > floor.margin
    clear_flips = int((turned & clear).sum())
    problems = []
    # A few flips among few texts are chance; significantly more than the floor allows are not.
    if clear.any() and stats.binomtest(clear_flips, int(clear.sum()), floor.flips, alternative="greater").pvalue < 0.05:
        problems.append(f"{clear_flips} of {int(clear.sum())} clear answers turned, {floor.flips:.1%} may")
    if kl > floor.kl:
        problems.append(f"the probabilities diverge by {kl:.4f} nats on average, {floor.kl:g} may be")
    examples = tuple(
        Flip(
            row=data.rows[i].row,
            was=_named(labels, before[i], several=several),
            now=_named(labels, after[i], several=several),
        )
        for i in np.flatnonzero(turned)[:SHOWN_FLIPS]
    )
    return Agreement(
        n=len(before),
        flips=int(turned.sum()),
        clear=int(clear.sum()),
        clear_flips=clear_flips,
        kl=kl,
        examples=examples,
        problem="; ".join(problems) or None,
    )


def _named(labels: tuple[str, ...], logits: NDArray[np.float32], *, several: bool) -> str:
    return ",".join(labels[i] for i in np.flatnonzero(logits > 0)) if several else labels[int(logits.argmax())]


def _values(n: int, floor: Floor, before: NDArray[np.float32], after: NDArray[np.float32]) -> Agreement:
    spread = float(before.astype(np.float64).std())
    moved = float(np.sqrt(np.mean((after.astype(np.float64) - before) ** 2)))
    shift = moved / spread if spread > 0 else (0.0 if moved == 0 else float("inf"))
    problem = (
        f"the answers moved by {shift:.4f} of their spread, {floor.shift:g} may be" if shift > floor.shift else None
    )
    return Agreement(
        n=n,
        shift=shift,
        problem=problem,
    )


def _vectors(n: int, floor: Floor, before: Predictions, after: Predictions) -> Agreement:
    """Cosine of each vector with fp32's, those of second texts included."""
    angles = [
        cosine(old, new)
        for old, new in ((before.vectors, after.vectors), (before.pair_vectors, after.pair_vectors))
        if old is not None and new is not None
    ]
    joined = np.concatenate(angles)
    mean = float(joined.mean())
    return Agreement(
        n=n,
        cosine_mean=mean,
        cosine_min=float(joined.min()),
        problem=f"the mean cosine with fp32 is {mean:.5f}, {floor.cosine:g} is the least"
        if mean < floor.cosine
        else None,
    )
