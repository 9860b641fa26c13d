"""The calibration error and the temperature, against figures that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeplm_export.quality.calibration import expected_calibration_error, fit_temperature
from edgeplm_export.quality.questions import Question


def test_a_classifier_that_is_as_sure_as_it_is_right_has_no_error() -> None:
    # Probability .8 for the first label, which is right in 80 of 100 rows.
    logits = np.tile(np.log([[0.8, 0.2]]), (100, 1)).astype(np.float32)
    gold = np.array([0] * 80 + [1] * 20)
    assert expected_calibration_error(logits, gold, Question.CLASSES, 1.0) == pytest.approx(0.0, abs=1e-6)
    gold = np.array([0] * 60 + [1] * 40)
    assert expected_calibration_error(logits, gold, Question.CLASSES, 1.0) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(20_000, 4)) * 2
    gold = np.array([random.choice(4, p=p) for p in np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)])
    found = fit_temperature((true * temperature).astype(np.float32), gold, Question.CLASSES)
    assert found == pytest.approx(temperature, rel=0.05)


def test_label_sets_are_calibrated_label_by_label() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(20_000, 3)) * 2
    gold = random.random(true.shape) < 1 / (1 + np.exp(-true))
    logits = (true * 2).astype(np.float32)
    assert fit_temperature(logits, gold, Question.SETS) == pytest.approx(2.0, rel=0.05)
    before = expected_calibration_error(logits, gold, Question.SETS, 1.0)
    assert expected_calibration_error(logits, gold, Question.SETS, 2.0) < before / 5
