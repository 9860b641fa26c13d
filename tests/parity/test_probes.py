"""The grid of questions that the gate asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.model import TorchModel
from edgeplm_export.parity.expectation import asked
from edgeplm_export.parity.probes import GRID_TOKENS, NASTY, PLAIN, make_probes
from edgeplm_export.tasks import load_model
from edgeplm_export.toys import make_toy


def _model(folder: Path) -> TorchModel:
    return load_model(open_checkpoint(str(folder), revision=None, trust_remote_code=False), None)


@pytest.fixture(scope="module")
def model(toy_classifier: Path) -> TorchModel:
    """The toy classifier in torch."""
    return _model(toy_classifier)


def test_the_grid_has_single_tokens_mixed_lengths_and_the_models_own_maximum(model: TorchModel) -> None:
    cells = {cell.name: cell for cell in make_probes(asked(model)).ids}
    for name in ("ids 1x1 full", "ids 5x64 full", "ids 5x64 mixed lengths", "ids 2x7 mixed lengths"):
        cell = cells[name]
        rows, width = map(int, name.split()[1].split("x"))
        assert [len(row) for row in cell.ids] == [width] * rows
        assert [len(row) for row in cell.mask] == [width] * rows
    mixed = [sum(row) for row in cells["ids 5x64 mixed lengths"].mask]
    assert mixed[0] == 64
    assert len(set(mixed)) == 5


def test_padding_stands_on_the_tokenizers_side(tmp_path: Path, model: TorchModel) -> None:
    left = _model(make_toy(tmp_path / "xlnet", "xlnet"))
    for one, padded in ((model, -1), (left, 0)):
        cell = next(cell for cell in make_probes(asked(one)).ids if cell.name == "ids 2x7 mixed lengths")
        assert cell.mask[1][padded] == 0
        assert cell.ids[1][padded] == one.tokenizer.pad_token_id


def test_a_long_model_is_asked_with_fewer_rows(model: TorchModel) -> None:
    cells = make_probes(asked(replace(model, max_length=8192))).ids
    assert max(len(cell.ids[0]) for cell in cells) == 8192
    assert all(len(cell.ids) * len(cell.ids[0]) <= GRID_TOKENS or len(cell.ids) == 1 for cell in cells)


def test_pairs_are_asked_where_the_model_reads_them(model: TorchModel) -> None:
    def kinds(pairs: str) -> set[bool]:
        probes = make_probes(asked(replace(model, pairs=pairs)))  # type: ignore[arg-type]  # a literal there
        return {"text_pair" in item for cell in probes.texts for item in cell.items}

    assert kinds("optional") == {False, True}
    assert kinds("required") == {True}
    assert kinds("refused") == {False}


def test_the_texts_hold_what_breaks_tokenizers(model: TorchModel) -> None:
    assert {"", " "} <= set(NASTY)
    joined = "".join(NASTY)
    for piece in ("\x00", "\u200d", "\u202e", "😀", "\ufeff", "e\u0301", "مرحبا", "你好"):
        assert piece in joined
    longest = max((*PLAIN, *NASTY), key=len)
    assert len(model.tokenizer(longest, verbose=False)["input_ids"]) > model.max_length
