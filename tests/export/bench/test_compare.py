"""Two runs side by side: the rule of a regression, and what allows no claim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from edgeplm_export.bench.compare import compare, compare_files, ratio_interval
from edgeplm_runtime.benchmark.records import ColdStart
from edgeplm_runtime.errors import BadInput


if TYPE_CHECKING:
    from tests.export.bench.conftest import MakeReport


def test_the_same_run_twice_is_the_same(report: MakeReport) -> None:
    found = compare(report(), report(), tolerance=0.05)
    assert not found.slower
    assert {row.verdict for row in found.rows} == {"same"}
    assert [row.what for row in found.rows] == ["EdgePLM fp32 1×16", "EdgePLM fp32 8×16", "cold start"]
    assert found.words == "nothing got slower beyond 5%."


def test_a_fifth_slower_is_slower_and_the_other_way_round_faster(report: MakeReport) -> None:
    found = compare(report(10.0), report(12.0), tolerance=0.05)
    assert found.slower
    assert [row.verdict for row in found.rows] == ["slower", "slower", "same"]
    assert found.rows[0].ratio == pytest.approx(1.2)
    assert found.rows[0].low <= 1.2 <= found.rows[0].high
    back = compare(report(12.0), report(10.0), tolerance=0.05)
    assert not back.slower
    assert [row.verdict for row in back.rows] == ["faster", "faster", "same"]


def test_a_change_within_the_tolerance_is_none(report: MakeReport) -> None:
    assert not compare(report(10.0), report(10.2), tolerance=0.05).slower
    assert compare(report(10.0), report(10.6), tolerance=0.02).slower


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)

    def run(center: float) -> list[list[float]]:
        """Turns that differ more than their calls do, as on a machine that drifts."""
        return [list(turn * rng.normal(1, 0.01, 10)) for turn in center * rng.normal(1, 0.05, 10)]

    held = 0
    for _ in range(60):
        _, low, high = ratio_interval(run(1.0), run(1.3))
        held += low <= 1.3 <= high
    assert held >= 55


def test_scatter_beyond_the_difference_is_unclear_and_not_slower(report: MakeReport) -> None:
    cold = ColdStart(wall_s=0.3, peak_rss_bytes=1, samples_s=(0.1, 0.9, 0.2, 0.5, 0.3))
    found = compare(report(), report(cold_start=cold), tolerance=0.05)
    assert found.rows[-1].verdict == "unclear"
    assert not found.slower
    assert "Too noisy to tell: cold start" in found.words


def test_too_few_turns_claim_nothing(report: MakeReport) -> None:
    few = ColdStart(wall_s=0.9, peak_rss_bytes=1, samples_s=(0.9, 0.9))
    found = compare(report(), report(cold_start=few), tolerance=0.05)
    assert found.rows[-1].verdict == "too few turns"
    assert not found.slower
    assert msgspec.json.encode(found)  # its interval is no number


def test_other_machines_are_refused_by_what_differs(report: MakeReport) -> None:
    old = report()
    new = report(machine=replace(old.machine, cpu="Another CPU"), threads=1)
    with pytest.raises(BadInput, match=r"cpu A CPU and Another CPU; threads 2 and 1.*--across-machines"):
        compare(old, new, tolerance=0.05)
    found = compare(old, new, tolerance=0.05, across_machines=True)
    assert found.notes[0].startswith("compared across different machines: cpu")


def test_a_noisy_or_interrupted_run_allows_no_claim(report: MakeReport) -> None:
    old = report()
    noisy = report(12.0, noise=replace(old.noise, findings=("the hypervisor took 5%",)), interrupted=True)
    with pytest.raises(BadInput, match="the new run allows no claim: the hypervisor took 5%; it was interrupted"):
        compare(old, noisy, tolerance=0.05)
    found = compare(old, noisy, tolerance=0.05, accept_noise=True)
    assert found.slower
    assert "the new run: it was interrupted." in found.notes


def test_what_only_one_run_has_is_named(report: MakeReport) -> None:
    old = report()
    new = report(candidates=(replace(old.candidates[0], cells=old.candidates[0].cells[:1]),))
    assert "only the old run has EdgePLM fp32 8×16." in compare(old, new, tolerance=0.05).notes


def test_runs_with_nothing_in_common_are_refused(report: MakeReport) -> None:
    old = report(cold_start=None)
    new = report(candidates=(replace(old.candidates[0], name="EdgePLM int8"),), cold_start=None)
    with pytest.raises(BadInput, match="nothing in common"):
        compare(old, new, tolerance=0.05)


@pytest.mark.parametrize("tolerance", [-0.1, 11.0, float("nan")])
def test_a_tolerance_that_makes_no_sense_is_refused(report: MakeReport, tolerance: float) -> None:
    with pytest.raises(BadInput, match="tolerance is"):
        compare(report(), report(), tolerance=tolerance)


def test_documents_are_read_back_as_they_were(report: MakeReport, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(msgspec.json.encode(report()))
    assert not compare_files(str(path), str(path), tolerance=0.05).slower


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1, 2]", "not of edgeplm bench"),
        (b'{"name": "pytest-benchmark"}', "not of edgeplm bench"),
        (b'{"bundle": "out", "cells": []}', "not of edgeplm bench"),  # as written before the format had a name
        (b'{"format": "edgeplm-bench", "format_version": "2.0"}', "is of format '2.0'; this EdgePLM reads 1.x"),
        (b'{"format": "edgeplm-bench", "format_version": "1.7"}', "does not follow the format"),
        (b'{"format": "edgeplm-bench", "format_version": null}', "is of format 'None'"),
    ],
)
def test_what_is_no_such_document_is_refused_with_the_way_to_make_one(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words) as refused:
        compare_files(str(path), str(path), tolerance=0.05)
    assert "run.json" in str(refused.value)


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        compare_files(str(tmp_path / "nothing"), str(tmp_path), tolerance=0.05)
    with pytest.raises(BadInput, match="is a folder"):
        compare_files(str(tmp_path), str(tmp_path), tolerance=0.05)
