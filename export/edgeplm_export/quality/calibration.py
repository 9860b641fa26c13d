"""How honest the probabilities of a classifier are, and the one number that makes them more so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from edgeplm_export.quality.questions import Question
from edgeplm_runtime.numerics import Floats


BINS = 15  # Guo et al. 2017
BOUNDS = (-3.0, 3.0)  # of the logarithm: a temperature from 0.05 to 20
FEWEST = 50  # labelled texts; a temperature of fewer is noise


def expected_calibration_error(
    logits: Floats, gold: NDArray[np.generic], question: Question, temperature: float
) -> float:
    """ECE (Naeini et al. 2015, Guo et al. 2017, arXiv:1706.04599): mean distance of confidence from accuracy.

    logits (n, labels); gold (n,) int64, or (n, labels) bool for label sets, where each label counts as an answer. The
    confidence of 15 bins of equal width is compared with the share that is right, weighted by their size.
    """
    scaled = logits.astype(np.float64) / temperature
    if question is Question.SETS:
        confidence = special.expit(scaled).ravel()
        right = gold.astype(bool).ravel()
    else:
        probabilities = special.softmax(scaled, axis=1)
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == gold
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    size = np.bincount(place, minlength=BINS)
    gap = np.abs(np.bincount(place, confidence, BINS) - np.bincount(place, right.astype(float), BINS))
    return float(gap.sum() / size.sum())


def fit_temperature(logits: Floats, gold: NDArray[np.generic], question: Question) -> float:
    """Temperature scaling (Guo et al. 2017): the T > 0 by which logits (n, labels) fit the gold best (least NLL)."""
    wide = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = wide / np.exp(log_temperature)
        if question is Question.SETS:
            return float(-np.where(gold, special.log_expit(scaled), special.log_expit(-scaled)).mean())
        return float(-special.log_softmax(scaled, axis=1)[np.arange(len(gold)), gold.astype(int)].mean())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=BOUNDS, method="bounded").x))
