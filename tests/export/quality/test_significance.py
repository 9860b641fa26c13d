"""Chance is told from loss: against textbook figures, and by a simulation with a fixed seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeplm_export.quality.gate import decide
from edgeplm_export.quality.metrics import METRICS
from edgeplm_export.quality.significance import compare, holm, mcnemar


def test_mcnemar_is_exact() -> None:
    before = np.asarray([True] * 5 + [False] + [True] * 94)
    after = np.asarray([False] * 5 + [True] + [True] * 94)
    assert mcnemar(before, after) == pytest.approx(7 / 64)  # 5 or 6 of 6 coins
    assert mcnemar(before, before) == 1.0


def test_rows_without_a_flip_prove_only_as_much_as_their_number() -> None:
    for rows, high in ((100, 0.03), (600, 0.005)):
        right = np.ones(rows, dtype=np.bool_)
        found = compare(METRICS["accuracy"], right, right, right)
        assert (found.drop, found.p) == (0.0, 1.0)
        assert found.high == pytest.approx(high)


def test_the_chance_of_a_loss_beyond_max_drop_agrees_with_the_upper_bound() -> None:
    rng = np.random.default_rng(0)
    for rows, turned in ((400, 0), (700, 0), (2000, 2), (2000, 40)):
        gold = np.ones(rows, dtype=np.bool_)
        after = gold.copy()
        after[rng.choice(rows, turned, replace=False)] = False
        found = compare(METRICS["accuracy"], gold, gold, after, max_drop=0.005)
        assert (found.beyond <= 0.05) is (found.high <= 0.005)
    values = rng.normal(size=300)
    before, moved = values + rng.normal(size=300), values + rng.normal(size=300)
    for limit in (-0.2, 0.0, 0.05, 0.2):
        found = compare(METRICS["spearman"], values, before, moved, max_drop=limit)
        assert (found.beyond <= 0.05) is (found.high <= limit)


def test_holm_corrects_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 4).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01], 1).tolist() == [0.01]
    assert holm([0.2, 0.01], 10).tolist() == pytest.approx([1.0, 0.1])


def test_a_gain_is_a_negative_drop_and_the_answer_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=200)
    before, after = gold + rng.normal(size=200), gold + rng.normal(size=200) * 0.5
    found = compare(METRICS["spearman"], gold, before, after)
    assert found.high < 0 < found.p
    assert found.p > 0.99
    assert compare(METRICS["spearman"], gold, before, after) == found
    assert compare(METRICS["mse"], gold, before, after).drop < 0 < compare(METRICS["mse"], gold, after, before).drop


def test_mse_is_counted_in_variances_so_that_its_unit_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=100)
    before, after = gold + rng.normal(size=100), gold + rng.normal(size=100)
    one = compare(METRICS["mse"], gold, before, after)
    thousand = compare(METRICS["mse"], gold * 1000, before * 1000, after * 1000)
    assert one.drop == pytest.approx(thousand.drop)
    assert one.high == pytest.approx(thousand.high)


@pytest.fixture(scope="module")
def simulate() -> Any:
    """The simulation of the benchmarks, which an sdist does not hold."""
    return pytest.importorskip("benchmarks.quality_rule").simulate


def test_two_hundred_rows_are_not_over_read(simulate: Any) -> None:
    good = simulate(200, 0.0, 0.02, trials=100)
    assert good["drop alone"] > 30  # what reading the drop alone would refuse
    assert good["worse"] <= 5
    assert good["proved"] + good["not proved"] >= 85


def test_a_harmful_variant_does_not_pass_because_there_are_few_rows(simulate: Any) -> None:
    for rows in (50, 200, 500):
        harmful = simulate(rows, 0.06, 0.08, trials=100)
        assert harmful["proved"] == 0
        assert harmful["proved"] + harmful["not proved"] <= 5


def test_few_rows_claim_nothing() -> None:
    right = np.ones(5, dtype=np.bool_)
    verdict, reason = decide(compare(METRICS["accuracy"], right, right, right), 5, 0.005)
    assert (verdict, "give 100 at least" in reason) == ("too few rows", True)
