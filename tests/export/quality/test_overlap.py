"""Calibration data that the evaluation would meet again is refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgeplm_export.quality import overlap
from edgeplm_export.quality.data import read_examples
from edgeplm_runtime.errors import BadInput


def test_rows_that_are_the_same_but_for_case_and_white_space_are_named(manifest: Any, write: Any) -> None:
    evaluation = read_examples(write("e.csv", "text,label\nA good  film,1\nbad,0\nnew,1\n"), manifest())
    with pytest.raises(BadInput, match=r"c\.txt and .*e\.csv overlap in 2 rows: row 2 is row 3 there; row 4 is row 2"):
        overlap.check(write("c.txt", "other\nBAD\n\na GOOD film\n"), evaluation, manifest())


def test_data_without_overlap_passes(manifest: Any, write: Any) -> None:
    evaluation = read_examples(write("e.csv", "text,label\ngood,1\nbad,0\n,1\n"), manifest())
    overlap.check(write("c.csv", "text\nother\n \n"), evaluation, manifest())


def test_pairs_are_compared_as_a_whole_and_with_single_texts_apart(manifest: Any, write: Any) -> None:
    evaluation = read_examples(write("e.csv", "question,context,label\nwhy?,because,1\nwho?,me,0\n"), manifest())
    overlap.check(write("c.csv", "question,context\nhow?,because\n"), evaluation, manifest())
    with pytest.raises(BadInput, match="overlap in 1 row:"):
        overlap.check(write("c.csv", "question,context\nwhy?,because\n"), evaluation, manifest())
    with pytest.raises(BadInput, match="overlap in 1 row:"):
        overlap.check(write("c.txt", "because\n"), evaluation, manifest())


def test_only_the_first_rows_are_named(manifest: Any, write: Any) -> None:
    rows = "".join(f"text {row}\n" for row in range(50))
    evaluation = read_examples(write("e.txt", rows), manifest())
    with pytest.raises(BadInput, match=r"overlap in 50 rows: row 1 .*row 5 is row 5 there …") as caught:
        overlap.check(write("c.txt", rows), evaluation, manifest())
    assert len(str(caught.value)) < 600
