"""Agreement on arrays: flips of clear answers, divergence, angles, shift; and the sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from edgeplm_export.quality.agreement import Agreement, agree
from edgeplm_export.quality.metrics import METRICS
from edgeplm_export.quality.predictions import Predictions
from edgeplm_export.quality.sample import TEXTS, sample
from edgeplm_export.quality.slices import worst_slice
from edgeplm_runtime.bundle.manifest import Manifest


ROWS = len(TEXTS)


def _agree(manifest: Manifest, before: Any, after: Any, precision: str = "int8") -> Agreement:
    vectors = manifest.task != "text-classification"

    def found(values: Any) -> Predictions:
        array: NDArray[np.float32] = np.asarray(values, dtype=np.float32)
        return Predictions(
            logits=None if vectors else array,
            vectors=array if vectors else None,
            pair_vectors=None,
            lengths=np.ones(ROWS, dtype=np.int64),
        )

    return agree(sample(manifest), manifest, precision, found(before), found(after))


def test_flips_are_judged_where_fp32_is_clear(manifest: Any) -> None:
    before = np.tile([0.0, 4.0], (ROWS, 1))
    before[:10] = [0.0, 0.1]  # no clear answer
    after = before.copy()
    after[:10] = after[:10, ::-1]
    near = _agree(manifest(), before, after)
    assert (near.flips, near.clear, near.clear_flips, near.problem) == (10, ROWS - 10, 0, None)
    assert [(flip.row, flip.was, flip.now) for flip in near.examples][:1] == [(1, "POSITIVE", "NEGATIVE")]
    after[10:20] = after[10:20, ::-1]
    assert "10 of 38 clear answers turned, 1.0% may" in (_agree(manifest(), before, after).problem or "")


def test_one_flip_of_few_is_chance_for_int8_and_a_fault_for_fp16(manifest: Any) -> None:
    before = np.tile([0.0, 0.6], (ROWS, 1))
    after = before.copy()
    after[0] = [0.6, 0.55]
    assert _agree(manifest(), before, after).problem is None
    assert "1 of 48 clear answers turned" in (_agree(manifest(), before, after, "fp16").problem or "")


def test_divergence_is_scipys(manifest: Any) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(2, ROWS, 3)).astype(np.float32)
    found = _agree(manifest(labels=("A", "B", "C")), before, after)
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (before, after))
    assert found.kl == pytest.approx(stats.entropy(p, q, axis=1).mean(), rel=1e-4)
    assert "diverge" in (found.problem or "")


def test_label_sets_turn_when_one_label_does(manifest: Any) -> None:
    several = manifest(problem_type="multi_label_classification")
    before = np.full((ROWS, 2), 3.0)
    after = before.copy()
    after[3, 1] = -3.0
    found = _agree(several, before, after)
    assert (found.flips, found.clear_flips) == (1, 1)
    assert (found.examples[0].was, found.examples[0].now) == ("NEGATIVE,POSITIVE", "NEGATIVE")
    assert _agree(several, before, before).kl == 0.0


def test_values_by_their_spread(manifest: Any) -> None:
    one = manifest(labels=("SCORE",))
    before = np.arange(ROWS, dtype=np.float32)[:, None]
    assert _agree(one, before, before + 0.5).problem is None
    assert "of their spread" in (_agree(one, before, before + 5).problem or "")
    assert _agree(one, np.ones((ROWS, 1)), np.ones((ROWS, 1))).shift == 0.0
    assert _agree(one, np.ones((ROWS, 1)), np.zeros((ROWS, 1))).problem is not None


def test_vectors_by_their_angle(manifest: Any) -> None:
    embedder = manifest(task="sentence-similarity", labels=None, pairs="refused")
    before = np.tile([1.0, 0.0], (ROWS, 1))
    after = before.copy()
    after[:2] = [0.0, 1.0]
    found = _agree(embedder, before, after)
    assert found.cosine_min == 0.0
    assert found.cosine_mean == pytest.approx(46 / 48)
    assert "mean cosine with fp32" in (found.problem or "")
    assert _agree(embedder, before, before * 2).problem is None


def test_the_sample_has_pairs_for_a_model_of_pairs(manifest: Any) -> None:
    assert len(set(TEXTS)) == ROWS == 48
    assert sample(manifest()).rows[0].text_pair is None
    assert sample(manifest(pairs="required")).rows[-1].text_pair == TEXTS[0]


def test_the_worst_slice_is_found_by_label_and_by_length() -> None:
    gold = np.asarray([0] * 60 + [1] * 15 + [2] * 5)
    lengths = np.arange(80)
    by_label = gold.copy()
    by_label[60:75:2] = 0
    by_label[75:] = 0  # five rows are no slice
    found = worst_slice(METRICS["accuracy"], gold, gold, by_label, lengths=lengths, labels=("A", "B", "C"))
    assert found is not None
    assert (found.name, found.n) == ("label B", 15)
    assert found.drop == pytest.approx(8 / 15)
    by_length = gold.copy()
    by_length[:20] = 1
    found = worst_slice(METRICS["f1_macro"], gold[:60], gold[:60], by_length[:60], lengths=lengths[:60], labels=("A",))
    assert found is not None
    assert found.name.startswith("short texts, 0 to 20 tokens")
    few = worst_slice(METRICS["accuracy"], gold[:9], gold[:9], gold[:9], lengths=lengths[:9], labels=("A",))
    assert few is None


def test_equal_lengths_are_one_slice() -> None:
    gold = np.asarray([0, 1] * 20)
    found = worst_slice(
        METRICS["accuracy"], gold, gold, gold, lengths=np.full(40, 7, dtype=np.int64), labels=("A", "B")
    )
    assert found is not None
