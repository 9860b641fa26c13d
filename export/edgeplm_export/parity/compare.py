"""Measure how far a device's answers are from PyTorch's, and judge them by a tolerance. Pure, on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_export.parity.tolerances import NOISE, UNSCALED_RANGE, Tolerance
from edgeplm_runtime.numerics import cosine


class CellReport(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the grid: the worst figures over its rows, and what is wrong with it, if anything.

    `max_abs_error` is scaled as the tolerance says. `cosine` (the smallest) and `mean_cosine` stand for `angles`
    rows, `agreement` for `clear` rows; they are None where there are none (one value a row; no clear winner).
    """

    name: str
    max_abs_error: float
    cosine: float | None
    mean_cosine: float | None
    angles: int
    agreement: float | None
    clear: int
    worst: str
    problem: str | None


def compare_rows(
    name: str,
    got: NDArray[np.float32],
    want: NDArray[np.float32],
    tolerance: Tolerance,
    *,
    labels: Sequence[str],
    classes: bool,
) -> CellReport:
    """Compare (rows, values) with (rows, values). `labels` names each row in the report, `classes` that the
    largest value of a row is an answer of its own.
    """
    if got.shape != want.shape:
        return broken(name, f"shape {got.shape} instead of {want.shape}")
    for side, values in (("PyTorch itself gives ", want), ("", got)):
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0][0])
            return broken(name, f"{side}NaN or infinite values for {labels[row]!r}")
    scale = max(1.0, float(np.abs(want).max(initial=0.0)) / UNSCALED_RANGE)
    errors = np.abs(got.astype(np.float64) - want).reshape(len(got), -1).max(axis=1, initial=0.0) / scale
    worst = int(errors.argmax()) if len(errors) else 0
    angles = _angles(got, want, tolerance, classes=classes)
    agreement, clear = _agreement(got, want, tolerance.margin) if classes else (None, 0)
    problems = []
    if errors.max(initial=0.0) > tolerance.max_abs_error:
        problems.append(f"max abs error {errors.max():.3g} > {tolerance.max_abs_error:g}")
    if angles.min(initial=1.0) < tolerance.min_cosine:
        problems.append(f"cosine {angles.min():.6f} < {tolerance.min_cosine:g}")
    return CellReport(
        name=name,
        max_abs_error=float(errors.max(initial=0.0)),
        cosine=float(angles.min()) if angles.size else None,
        mean_cosine=float(angles.mean()) if angles.size else None,
        angles=int(angles.size),
        agreement=agreement,
        clear=clear,
        worst=str(labels[worst])[:120] if len(labels) else "",
        problem="; ".join(problems) or None,
    )


def compare_answers(
    name: str, got: Sequence[Any], want: Sequence[Any], tolerance: Tolerance, *, texts: Sequence[str]
) -> CellReport:
    """Compare answers as a user gets them: label and score lists by label, or arrays."""
    if isinstance(want[0], list):
        order = [entry["label"] for entry in sorted(want[0], key=lambda entry: str(entry["label"]))]
        for text, answer in zip(texts, got, strict=True):
            if sorted(entry["label"] for entry in answer) != order:
                return broken(name, f"labels {[entry['label'] for entry in answer]} instead of {order} for {text!r}")
        return compare_rows(
            name, _scores(got, order), _scores(want, order), tolerance, labels=texts, classes=len(order) > 1
        )
    reports = []
    for text, a, b in zip(texts, got, want, strict=True):
        rows_a, rows_b = (np.atleast_2d(np.asarray(x, dtype=np.float32)) for x in (a, b))
        same = len(rows_a) == len(rows_b)
        names = [text] * len(rows_b)
        reports.append(
            compare_rows(name, rows_a, rows_b, tolerance, labels=names, classes=False)
            if same
            else broken(name, f"{len(rows_a)} rows instead of {len(rows_b)} for {text!r}")
        )
    return worst_of(name, reports)


def worst_of(name: str, reports: Sequence[CellReport]) -> CellReport:
    """One report that stands for several: the worst figure of each kind, the first problem, means over all rows."""
    failed = [report for report in reports if report.problem]
    largest = (failed or sorted(reports, key=lambda report: -report.max_abs_error))[0]
    angles = sum(report.angles for report in reports)
    clear = sum(report.clear for report in reports)
    return CellReport(
        name=name,
        max_abs_error=max(report.max_abs_error for report in reports),
        cosine=min((report.cosine for report in reports if report.cosine is not None), default=None),
        mean_cosine=sum((report.mean_cosine or 0.0) * report.angles for report in reports) / angles if angles else None,
        angles=angles,
        agreement=sum((report.agreement or 0.0) * report.clear for report in reports) / clear if clear else None,
        clear=clear,
        worst=largest.worst,
        problem=largest.problem,
    )


def broken(name: str, problem: str) -> CellReport:
    """A cell whose answers cannot be compared at all."""
    return CellReport(
        name=name,
        max_abs_error=float("inf"),
        cosine=None,
        mean_cosine=None,
        angles=0,
        agreement=None,
        clear=0,
        worst="",
        problem=problem,
    )


def _angles(
    got: NDArray[np.float32], want: NDArray[np.float32], tolerance: Tolerance, *, classes: bool
) -> NDArray[np.float64]:
    """The cosines that mean something, (rows that are judged,)."""
    if want.shape[-1] < 2:
        return np.empty(0)
    lengths = np.linalg.norm(want, axis=-1)
    judged = lengths > NOISE * tolerance.max_abs_error if classes else np.ones(len(want), dtype=bool)
    return cosine(got[judged], want[judged])


def _agreement(got: NDArray[np.float32], want: NDArray[np.float32], margin: float) -> tuple[float | None, int]:
    """Share of rows with the same largest value, and the count of rows where PyTorch's lead exceeds `margin`."""
    if want.shape[-1] < 2:
        return None, 0
    top = np.sort(want, axis=-1)
    clear = (top[:, -1] - top[:, -2]) > margin
    if not clear.any():
        return None, 0
    return float((got.argmax(axis=-1) == want.argmax(axis=-1))[clear].mean()), int(clear.sum())


def _scores(answers: Sequence[Sequence[Mapping[str, Any]]], order: Sequence[str]) -> NDArray[np.float32]:
    by_label = [{entry["label"]: entry["score"] for entry in answer} for answer in answers]
    return np.asarray([[scores[label] for label in order] for scores in by_label], dtype=np.float32)
