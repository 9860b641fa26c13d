"""METRICS: a row per figure of quality, and which questions it fits. All are scikit-learn's or scipy's.

A metric sees gold and answer of n examples, by question: classes (n,) int64; label sets (n, labels) bool; values and
similarities (n,) float64; pairs (n,) bool, right or wrong, with a gold of True. More is better, but for an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as scores

from edgeplm_export.quality.data import Data, Example
from edgeplm_export.quality.predictions import Predictions
from edgeplm_export.quality.questions import Question
from edgeplm_runtime.errors import BadInput, GateFailed, unknown
from edgeplm_runtime.numerics import cosine


Array = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure. `value(gold, answer)` may be NaN where it is not defined.

    `per_example` tells that it is the share of examples that are right. `counts` that it changes only where an
    answer flips, so that answers without a flip say little of rare ones. `error` that less is better; its drop is
    counted in variances of the gold, as max_drop means a share.
    """

    name: str
    fits: frozenset[Question]
    value: Callable[[Array, Array], float]
    per_example: bool = False
    counts: bool = True
    error: bool = False


def _accuracy(gold: Array, answer: Array) -> float:
    return float(scores.accuracy_score(gold, answer))


def _f1(gold: Array, answer: Array) -> float:
    """Of the second label; the first is what is not looked for."""
    return float(scores.f1_score(gold, answer, pos_label=1, average="binary", zero_division=np.nan))


def _f1_macro(gold: Array, answer: Array) -> float:
    # NaN leaves a label out that neither side has; 0 would punish both for it.
    return float(scores.f1_score(gold, answer, average="macro", zero_division=np.nan))


def _f1_micro(gold: Array, answer: Array) -> float:
    return float(scores.f1_score(gold, answer, average="micro", zero_division=np.nan))


def _matthews(gold: Array, answer: Array) -> float:
    if (gold == gold[0]).all():
        return np.nan
    return float(scores.matthews_corrcoef(gold, answer))


def _pearson(gold: Array, answer: Array) -> float:
    return float(stats.pearsonr(gold, answer).statistic) if _varies(gold) and _varies(answer) else np.nan


def _spearman(gold: Array, answer: Array) -> float:
    return float(stats.spearmanr(gold, answer).statistic) if _varies(gold) and _varies(answer) else np.nan


def _varies(values: Array) -> bool:
    return bool((values != values[0]).any())


def _mse(gold: Array, answer: Array) -> float:
    return float(scores.mean_squared_error(gold, answer))


_CLASSES, _SETS = Question.CLASSES, Question.SETS
_VALUES, _SIMILARITY, _PAIRS = Question.VALUES, Question.SIMILARITY, Question.PAIRS
METRICS: dict[str, Metric] = {
    row.name: row
    for row in (
        Metric(name="accuracy", fits=frozenset({_CLASSES}), value=_accuracy, per_example=True),
        Metric(name="f1", fits=frozenset({_CLASSES}), value=_f1),
        Metric(name="f1_macro", fits=frozenset({_CLASSES, _SETS}), value=_f1_macro),
        Metric(name="f1_micro", fits=frozenset({_CLASSES, _SETS}), value=_f1_micro),
        Metric(name="matthews", fits=frozenset({_CLASSES}), value=_matthews),
        Metric(name="pearson", fits=frozenset({_VALUES, _SIMILARITY}), value=_pearson, counts=False),
        Metric(name="spearman", fits=frozenset({_VALUES, _SIMILARITY}), value=_spearman, counts=False),
        Metric(name="mse", fits=frozenset({_VALUES}), value=_mse, counts=False, error=True),
        Metric(name="recall_at_1", fits=frozenset({_PAIRS}), value=_accuracy, per_example=True),
    )
}
DEFAULTS = {_CLASSES: "accuracy", _SETS: "f1_micro", _VALUES: "pearson", _SIMILARITY: "spearman", _PAIRS: "recall_at_1"}


def metric_for(data: Data, name: str | None, labels: Sequence[str]) -> Metric | None:
    """The metric that was asked for, or the default one; None for data without labels, when none was asked for.

    "f1" is that of the second label for a model of two, f1_macro for one of more. Raises BadInput for one that
    does not exist or does not fit the data, naming those that fit.
    """
    if name is not None and name not in METRICS:
        raise unknown("metric", name, METRICS)
    if data.question is Question.NOTHING:
        if name is None:
            return None
        listed = ", ".join(data.columns.known)
        raise BadInput(
            f"{data.path} has no labels that this task can be measured by (columns: {listed}), so {name} cannot be "
            "computed. Name the column with --columns label=NAME, or leave --metric out to judge by agreement."
        )
    wanted = "f1_macro" if name == "f1" and len(labels) > 2 and data.question is Question.CLASSES else name
    chosen = METRICS[wanted or DEFAULTS[data.question]]
    if data.question not in chosen.fits:
        fitting = ", ".join(row.name for row in METRICS.values() if data.question in row.fits)
        raise BadInput(f"{chosen.name} does not fit {data.path}, which has {data.question}. Those fit: {fitting}.")
    return chosen


def gold_of(data: Data, labels: Sequence[str]) -> Array:
    """The gold of the data as the metrics take it. Raises GateFailed when all rows have the same one."""
    rows = data.rows
    if data.question is Question.PAIRS:
        return np.ones(len(rows), dtype=np.bool_)
    if data.question is Question.SETS:
        sets = np.zeros((len(rows), len(labels)), dtype=np.bool_)
        for index, example in enumerate(rows):
            sets[index, list(example.label)] = True  # type: ignore[arg-type]
        if (sets == sets[0]).all():
            raise GateFailed(_only_one(data, "set of labels", sorted(labels[int(i)] for i in np.flatnonzero(sets[0]))))
        return sets
    values = np.asarray([example.label for example in rows])
    if not _varies(values):
        one = labels[int(values[0])] if data.question is Question.CLASSES else values[0].item()
        raise GateFailed(_only_one(data, "label" if data.question is Question.CLASSES else "score", one))
    return values.astype(np.int64 if data.question is Question.CLASSES else np.float64)


def answers_of(data: Data, found: Predictions) -> Array:
    """A variant's answers, as the metrics take them."""
    if data.question is Question.CLASSES:
        return np.asarray(_logits(found).argmax(axis=1))
    if data.question is Question.SETS:
        return _logits(found) > 0  # a probability above one half
    if data.question is Question.VALUES:
        return _logits(found)[:, 0].astype(np.float64)
    if found.vectors is None or found.pair_vectors is None:
        raise AssertionError("a question about pairs is asked only of a model of single texts, with pairs")
    if data.question is Question.SIMILARITY:
        return cosine(found.vectors, found.pair_vectors)
    return _hits(found.vectors, found.pair_vectors, data.rows)


def _logits(found: Predictions) -> NDArray[np.float32]:
    if found.logits is None:
        raise AssertionError("a question about labels is asked only of a classifier")
    return found.logits


def _hits(texts: NDArray[np.float32], pairs: NDArray[np.float32], rows: Sequence[Example]) -> NDArray[np.bool_]:
    """Whether the nearest second text, by cosine, is the row's own or reads the same."""
    a, b = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in (texts, pairs))
    same: dict[str | None, int] = {}
    names = np.asarray([same.setdefault(row.text_pair, len(same)) for row in rows])
    nearest = np.concatenate([(a[start : start + 512] @ b.T).argmax(axis=1) for start in range(0, len(a), 512)])
    return np.asarray(names[nearest] == names)


def _only_one(data: Data, kind: str, value: object) -> str:
    return (
        f"{data.path}: all {len(data.rows)} rows have the same {kind}, {value!r}. Nothing can be measured with one; "
        "give data in which it varies."
    )
