"""The rows that candidates are fed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeplm_runtime.benchmark.cells import MAX_BATCH, cell_inputs, check_grid
from edgeplm_runtime.engine import Engine
from edgeplm_runtime.errors import BadInput


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 2), (3, 9), (40, 16), (2, 64)])
def test_rows_have_the_length_that_was_asked_for(engine: Engine, batch: int, length: int) -> None:
    found = cell_inputs(engine, batch, min(length, engine.manifest.text.max_length))
    ids, mask = found.arrays["input_ids"], found.arrays["attention_mask"]
    assert ids.shape == mask.shape == (batch, found.length)
    assert len(found.texts) == batch
    # A word may be more than one token: a row may lack a few, never most.
    assert (mask.sum(axis=1) >= max(1, found.length - 4)).all()
    engine.forward(ids, mask, found.arrays["token_type_ids"])


def test_the_texts_are_those_of_the_ids(engine: Engine) -> None:
    found = cell_inputs(engine, 3, 12)
    for text, ids, mask in zip(found.texts, found.arrays["input_ids"], found.arrays["attention_mask"], strict=True):
        assert engine.tokenize([text])[0].ids == ids[: mask.sum()].tolist()


def test_rows_of_a_cell_differ(engine: Engine) -> None:
    assert len(set(cell_inputs(engine, 8, 16).texts)) == 8


def test_what_is_stored_is_what_a_candidate_reads(engine: Engine, tmp_path: Path) -> None:
    found = cell_inputs(engine, 2, 8)
    with np.load(found.store(tmp_path)) as stored:  # without pickle
        assert stored["texts"].tolist() == list(found.texts)
        assert (stored["input_ids"] == found.arrays["input_ids"]).all()


@pytest.mark.parametrize(
    ("batches", "lengths", "words"),
    [
        ([0], [8], "batch is 0"),
        ([MAX_BATCH + 1], [8], "batch is 10001"),
        ([1], [65], "length is 65"),
        ([], [8], "no batch"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(batches: list[int], lengths: list[int], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check_grid(batches, lengths, 64)
