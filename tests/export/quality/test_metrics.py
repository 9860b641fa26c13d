"""Metrics are those of scikit-learn and scipy, and one that does not fit is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeplm_export.quality.data import read_examples
from edgeplm_export.quality.metrics import DEFAULTS, METRICS, answers_of, gold_of, metric_for
from edgeplm_export.quality.predictions import Predictions
from edgeplm_export.quality.questions import Question
from edgeplm_runtime.errors import BadInput, GateFailed


LABELS = ("NEGATIVE", "POSITIVE")
EMBEDDER = {"task": "sentence-similarity", "labels": None, "pairs": "refused"}


def _predictions(**arrays: Any) -> Predictions:
    given = {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items()}
    return Predictions(
        logits=given.get("logits"),
        vectors=given.get("vectors"),
        pair_vectors=given.get("pair_vectors"),
        lengths=np.ones(1, dtype=np.int64),
    )


def test_each_question_has_a_default_that_fits() -> None:
    assert set(DEFAULTS) == set(Question) - {Question.NOTHING}
    assert all(question in METRICS[name].fits for question, name in DEFAULTS.items())


@pytest.mark.parametrize(
    ("name", "gold", "answer", "value"),
    [
        ("accuracy", [0, 1, 1, 0], [0, 1, 0, 0], 0.75),
        ("f1", [0, 1, 1, 0], [0, 1, 0, 0], 2 / 3),
        ("f1_macro", [0, 1, 1, 0], [0, 1, 0, 0], (0.8 + 2 / 3) / 2),
        ("f1_micro", [0, 1, 2, 0], [0, 1, 0, 0], 0.75),
        ("f1_macro", [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]], 1 / 3),
        ("f1_micro", [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]], 0.5),
        ("matthews", [0, 1, 1, 0], [1, 0, 0, 1], -1.0),
        ("matthews", [1, 1], [1, 0], np.nan),
        ("pearson", [1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 1.0),
        ("pearson", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], np.nan),
        ("spearman", [1.0, 2.0, 3.0], [9.0, 4.0, 1.0], -1.0),
        ("spearman", [1.0, 1.0], [9.0, 4.0], np.nan),
        ("mse", [1.0, 2.0], [2.0, 2.0], 0.5),
        ("recall_at_1", [True, True], [True, False], 0.5),
    ],
)
def test_values(name: str, gold: Any, answer: Any, value: float) -> None:
    kind = bool if np.ndim(gold) == 2 else None
    found = METRICS[name].value(np.asarray(gold, dtype=kind), np.asarray(answer, dtype=kind))
    # A label that no row has and no answer names counts in f1_macro of label sets neither for nor against.
    assert found == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("options", "content", "name", "says"),
    [
        (
            {},
            "text,label\na,1\nb,0\n",
            "spearman",
            "spearman does not fit .*one label of several.*Those fit: accuracy, f1",
        ),
        (EMBEDDER, "text,text_pair,score\na,b,1\n", "f1", "Those fit: pearson, spearman"),
        (EMBEDDER, "text,text_pair\na,b\n", "spearman", "Those fit: recall_at_1"),
        (
            {"labels": LABELS, "problem_type": "multi_label_classification"},
            "text,label\na,1\n",
            "f1",
            "f1_macro, f1_micro",
        ),
        ({}, "text,label\na,1\n", "accurac", "unknown metric 'accurac'. Did you mean 'accuracy'"),
        ({}, "text,labe\na,1\n", "f1", r"has no labels .*columns: text, labe.*--columns label=NAME"),
    ],
)
def test_a_metric_that_does_not_fit(
    manifest: Any, write: Any, options: Any, content: str, name: str, says: str
) -> None:
    data = read_examples(write("a.csv", content), manifest(**options))
    with pytest.raises(BadInput, match=says):
        metric_for(data, name, LABELS)


def test_f1_of_more_than_two_labels_is_the_macro_one(manifest: Any, write: Any) -> None:
    data = read_examples(write("a.csv", "text,label\na,1\nb,2\n"), manifest(labels=("A", "B", "C")))
    chosen = metric_for(data, "f1", ("A", "B", "C"))
    assert chosen is not None
    assert chosen.name == "f1_macro"


@pytest.mark.parametrize(
    ("options", "content", "says"),
    [
        ({}, "text,label\na,1\nb,1\n", "all 2 rows have the same label, 'POSITIVE'"),
        ({"labels": ("S",)}, "text,score\na,1\nb,1.0\n", "all 2 rows have the same score, 1.0"),
        (
            {"problem_type": "multi_label_classification"},
            "text,label\na,1\nb,1\n",
            r"all 2 rows have the same set of labels, \['POSITIVE'\]",
        ),
    ],
)
def test_one_class_only(manifest: Any, write: Any, options: Any, content: str, says: str) -> None:
    data = read_examples(write("a.csv", content), manifest(**options))
    with pytest.raises(GateFailed, match=says):
        gold_of(data, LABELS)


def test_answers_of_each_question(manifest: Any, write: Any) -> None:
    classes = read_examples(write("a.csv", "text,label\na,1\nb,0\n"), manifest())
    assert answers_of(classes, _predictions(logits=[[0, 1], [2, 1]])).tolist() == [1, 0]
    sets = read_examples(write("a.csv", "text,label\na,1\nb,0\n"), manifest(problem_type="multi_label_classification"))
    assert answers_of(sets, _predictions(logits=[[-1, 1], [2, 1]])).tolist() == [[False, True], [True, True]]
    values = read_examples(write("a.csv", "text,score\na,1\nb,0\n"), manifest(labels=("S",)))
    assert answers_of(values, _predictions(logits=[[3], [2]])).tolist() == [3.0, 2.0]


def test_recall_finds_the_nearest_and_takes_an_equal_text_for_right(manifest: Any, write: Any) -> None:
    data = read_examples(write("a.csv", "text,text_pair\na,x\nb,y\nc,x\nd,z\n"), manifest(**EMBEDDER))
    vectors = [[1, 0], [0, 1], [1, 0], [0, 1]]
    pairs = [[1, 0], [0, 2], [1, 0], [-1, 0]]
    hits = answers_of(data, _predictions(vectors=vectors, pair_vectors=pairs))
    assert hits.tolist() == [True, True, True, False]
    assert gold_of(data, ()).tolist() == [True] * 4
