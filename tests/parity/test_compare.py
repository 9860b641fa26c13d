"""compare.py judges arrays and answers by the tolerance, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeplm_export.parity.compare import CellReport, broken, compare_answers, compare_rows, worst_of
from edgeplm_export.parity.tolerances import TOLERANCES


FP32 = TOLERANCES["fp32"]


def _compare(got: Any, want: Any, *, classes: bool = True, tolerance: Any = FP32) -> CellReport:
    arrays = [np.asarray(value, dtype=np.float32) for value in (got, want)]
    names = [f"text {row}" for row in range(len(arrays[1]))]
    return compare_rows("cell", arrays[0], arrays[1], tolerance, labels=names, classes=classes)


def test_equal_arrays_have_no_problem() -> None:
    report = _compare([[1, 2], [3, 4]], [[1, 2], [3, 4]])
    assert (report.problem, report.max_abs_error, report.agreement) == (None, 0.0, 1.0)
    assert report.cosine == pytest.approx(1.0)
    assert (report.angles, report.clear) == (2, 2)


@pytest.mark.parametrize(("error", "passes"), [(0.9e-4, True), (1.1e-4, False), (-1.1e-4, False)])
def test_the_bound_holds_for_outputs_within_ten(error: float, passes: bool) -> None:
    assert (_compare([[1 + error, -5]], [[1, -5]]).problem is None) is passes


@pytest.mark.parametrize(("error", "passes"), [(0.9e-3, True), (1.2e-3, False)])
def test_the_bound_grows_with_an_output_wider_than_ten(error: float, passes: bool) -> None:
    assert (_compare([[100 + error, 1]], [[100, 1]]).problem is None) is passes


def test_the_error_and_its_text_are_named() -> None:
    report = _compare([[1, 2], [3, 4.5]], [[1, 2], [3, 4]])
    assert report.worst == "text 1"
    assert report.problem is not None
    assert report.problem.startswith("max abs error 0.5 > 0.0001; cosine 0.99")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_on_either_side(value: float) -> None:
    assert _compare([[1, 2], [value, 4]], [[1, 2], [3, 4]]).problem == "NaN or infinite values for 'text 1'"
    both = _compare([[1, 2], [3, 4]], [[1, 2], [value, 4]])
    assert both.problem == "PyTorch itself gives NaN or infinite values for 'text 1'"


@pytest.mark.parametrize("got", [[[1, 2, 3]], [[1, 2], [3, 4]], [[1]]])
def test_another_shape_is_a_problem(got: Any) -> None:
    report = _compare(got, [[1, 2]])
    assert report.problem == f"shape {np.asarray(got).shape} instead of (1, 2)"
    assert report.max_abs_error == float("inf")


def test_an_answer_counts_only_where_the_lead_exceeds_the_margin() -> None:
    loose = replace(FP32, max_abs_error=1.0, min_cosine=-1.0)
    narrow = _compare([[0.0, 1e-4]], [[1e-4, 0.0]], tolerance=loose)
    assert (narrow.agreement, narrow.clear) == (None, 0)
    clear = _compare([[0.0, 1.0], [2.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]], tolerance=loose)
    assert (clear.agreement, clear.clear) == (0.5, 2)


def test_the_angle_of_logits_as_short_as_the_noise_is_not_judged() -> None:
    tiny = _compare([[1e-5, 0.0]], [[0.0, 1e-5]])
    assert (tiny.problem, tiny.angles) == (None, 0)
    assert _compare([[1e-5, 0.0]], [[0.0, 1e-5]], classes=False).problem == "cosine 0.000000 < 0.99999"


def test_a_vector_of_zeros_in_place_of_another_is_a_problem() -> None:
    assert "cosine 0.000000" in str(_compare([[0, 0]], [[1e-5, 0]], classes=False).problem)
    assert _compare([[0, 0]], [[0, 0]], classes=False).problem is None


def test_a_single_value_has_neither_angle_nor_answer() -> None:
    report = _compare([[1.0], [2.0]], [[1.0], [2.0]])
    assert (report.cosine, report.mean_cosine, report.agreement, report.problem) == (None, None, None, None)
    assert _compare([[1.0]], [[-1.0]]).problem == "max abs error 2 > 0.0001"


def _answer(**scores: float) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in scores.items()]


def test_answers_are_compared_label_by_label() -> None:
    want = [_answer(A=0.9, B=0.1)]
    same = compare_answers("cell", [_answer(B=0.1, A=0.9)], want, FP32, texts=["t"])
    assert same.problem is None
    swapped = compare_answers("cell", [_answer(B=0.9, A=0.1)], want, FP32, texts=["t"])
    assert "max abs error 0.8" in str(swapped.problem)


@pytest.mark.parametrize("got", [_answer(A=0.9), _answer(A=0.9, C=0.1), []])
def test_missing_and_strange_labels_are_named(got: list[dict[str, Any]]) -> None:
    report = compare_answers("cell", [got], [_answer(A=0.9, B=0.1)], FP32, texts=["a text"])
    assert "instead of ['A', 'B'] for 'a text'" in str(report.problem)


def test_arrays_of_another_count_of_tokens_are_named() -> None:
    report = compare_answers("cell", [np.ones((2, 3))], [np.ones((3, 3))], FP32, texts=["a text"])
    assert report.problem == "2 rows instead of 3 for 'a text'"


def test_the_worst_of_several_keeps_every_extreme() -> None:
    good, bad = _compare([[1, 2]], [[1, 2]]), _compare([[1, 2.5]], [[1, 2]])
    worst = worst_of("all", [good, bad, good])
    assert worst.problem == bad.problem
    assert worst.max_abs_error == bad.max_abs_error
    assert worst.cosine == bad.cosine
    assert bad.cosine is not None
    assert worst.mean_cosine == pytest.approx((2 + bad.cosine) / 3)
    assert worst_of("all", [good, broken("x", "no answer")]).problem == "no answer"


def test_the_tolerances_are_those_of_the_design() -> None:
    assert (FP32.max_abs_error, FP32.min_cosine, FP32.agreement) == (1e-4, 0.99999, 1.0)
    assert (TOLERANCES["fp16"].min_cosine, TOLERANCES["fp16"].agreement) == (0.9999, 1.0)
