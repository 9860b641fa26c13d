"""Every family that we name is exported and answers like transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeplm_export.pipeline import ParityFailed, export
from edgeplm_export.toys import make_toy
from edgeplm_runtime.engine import load


# The family, and how many fused attention operators its two layers give.
FAMILIES = {
    "bert": 2,
    "roberta": 2,
    "xlm-roberta": 2,
    "camembert": 2,
    "distilbert": 2,
    "electra": 2,
    "albert": 2,
    "mpnet": 2,
    "deberta-v2": 0,
    "xlnet": 0,
    "modernbert": 0,
}
PAIRS = ({"text": "the film is good", "text_pair": "he was in it"}, {"text": "bad", "text_pair": "is it? " * 30})


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_classifier_of_each_family_answers_like_transformers(
    model_type: str, tmp_path: Path, same_labels: Callable[..., None]
) -> None:
    checkpoint = make_toy(tmp_path / "checkpoint", model_type, labels=("BAD", "GOOD", "SO SO"))
    result = export(str(checkpoint), tmp_path / "out")
    same_labels(checkpoint, tmp_path / "out")
    same_labels(checkpoint, tmp_path / "out", PAIRS)
    with load(tmp_path / "out") as engine:
        variant = engine.manifest.variants[0]
        assert variant.optimizations["attention"].fused == FAMILIES[model_type]
        assert engine.manifest.text.padding_side == ("left" if model_type == "xlnet" else "right")
    assert result.notes == ()
    assert result.reports[0].summary.max_abs_error < 1e-4


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "xlnet", "mpnet", "modernbert"])
def test_hidden_states_of_each_kind_of_family_are_those_of_transformers(model_type: str, tmp_path: Path) -> None:
    import numpy as np
    import transformers

    checkpoint = make_toy(tmp_path / "checkpoint", model_type, head="Model")
    export(str(checkpoint), tmp_path / "out")
    texts = ["the film is good", "bad", "it was on the " * 40]
    pipe = transformers.pipeline("feature-extraction", model=str(checkpoint), device="cpu")
    with load(tmp_path / "out") as engine:
        assert engine.manifest.task == "feature-extraction"
        for text, got in zip(texts, engine(texts), strict=True):
            want = np.asarray(pipe(text, truncation=True, max_length=engine.manifest.text.max_length)[0])
            assert got.dtype == np.float32
            assert got.shape == want.shape
            cosines = (got * want).sum(-1) / (np.linalg.norm(got, axis=-1) * np.linalg.norm(want, axis=-1))
            assert cosines.min() >= 0.99999


def test_a_family_without_a_row_is_exported_with_the_defaults(tmp_path: Path, same_labels: Callable[..., None]) -> None:
    checkpoint = make_toy(tmp_path / "checkpoint", "ernie")
    export(str(checkpoint), tmp_path / "out")
    same_labels(checkpoint, tmp_path / "out")


def test_a_family_whose_answers_depend_on_the_padding_is_refused(tmp_path: Path) -> None:
    """ConvBERT's convolutions read the padding: in PyTorch, too, a text answers otherwise in a batch."""
    checkpoint = make_toy(tmp_path / "checkpoint", "convbert")
    with pytest.raises(ParityFailed, match=r"drift, alone against in a batch: max abs error [\d.]+ > 0\.0001"):
        export(str(checkpoint), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
