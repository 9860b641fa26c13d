"""Each loss: zero for an equal student, and the value of its formula written another way."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from edgeplm_export.distil import losses


torch.manual_seed(0)
ONE, OTHER = torch.randn(5, 4), torch.randn(5, 4)
STATES, OTHERS = torch.randn(2, 6, 24), torch.randn(2, 6, 24)
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


def test_soft_labels_are_the_divergence_times_the_square_of_the_temperature() -> None:
    p, q = torch.softmax(OTHER / 3, dim=1), torch.softmax(ONE / 3, dim=1)
    wanted = (p * (p / q).log()).sum(dim=1).mean() * 9
    assert losses.soft_labels(ONE, OTHER, 3.0) == pytest.approx(float(wanted), rel=1e-5)
    assert float(losses.soft_labels(ONE, ONE, 2.0)) == pytest.approx(0.0, abs=1e-6)


def test_soft_sets_are_least_for_an_equal_student() -> None:
    assert losses.soft_sets(ONE, OTHER, 2.0) > losses.soft_sets(OTHER, OTHER, 2.0)


def test_what_stands_at_padding_counts_nowhere() -> None:
    changed = OTHERS.clone()
    changed[1, 3:] = 99.0
    assert losses.hidden_states(STATES, OTHERS, MASK) == losses.hidden_states(STATES, changed, MASK)
    relations = losses.value_relations(STATES, OTHERS, MASK, 4)
    assert losses.value_relations(STATES, changed, MASK, 4) == pytest.approx(float(relations), rel=1e-5)
    assert float(losses.value_relations(STATES, STATES, MASK, 4)) == pytest.approx(0.0, abs=1e-6)


def test_relations_compare_students_of_another_width() -> None:
    assert math.isfinite(float(losses.value_relations(torch.randn(2, 6, 12), OTHERS, MASK, 4)))


def test_attention_is_compared_row_by_row_of_real_tokens() -> None:
    one = torch.softmax(torch.randn(2, 3, 6, 6), dim=-1)
    other = one.clone()
    other[1, :, 4] = 0.0  # a padded row
    assert float(losses.attention(one, other, MASK)) == 0.0
    other[1, :, 2] = 0.0
    assert float(losses.attention(one, other, MASK)) > 0


def test_similarities_do_not_care_for_width_turn_or_length() -> None:
    vectors = functional.normalize(torch.randn(8, 16), dim=1)
    turned = vectors @ torch.linalg.qr(torch.randn(16, 16))[0] * 7
    wider = torch.cat([turned, torch.zeros(8, 4)], dim=1)
    assert float(losses.similarities(wider, vectors)) == pytest.approx(0.0, abs=1e-10)
    assert float(losses.cosine(vectors * 3, vectors)) == pytest.approx(0.0, abs=1e-6)
