"""transformers.js opens a bundle as it is, external weights and all, and answers as our engine does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeplm_runtime.engine import load


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

TEXTS = [
    "A great movie!",
    "it was not good: the film that they have on is bad, and I was at it with the one that he had",
    "naïve café 東京 \U0001f600 — a “quoted” word",
    "it's what they'd have done, isn't it? 3.5% of $1,000 (about)",
]
DTYPES = {"fp32": "fp32", "fp16": "fp16", "int8": "q8"}  # our precision → its word
# int8: its ONNX Runtime is another build than ours, and a value that rounds the other way moves the answer.
CLOSE = {"fp32": 1e-4, "fp16": 5e-3, "int8": 5e-3}
SAME_DIRECTION = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.999}

Ask = Callable[[dict[str, Any]], list[Any]]


def _check_classifier(ask: Ask, models: Path, precision: str) -> None:
    asked = {
        "models": str(models),
        "name": "classifier",
        "task": "text-classification",
        "dtype": DTYPES[precision],
        "options": {"top_k": None},
    }
    texts = [*TEXTS, ""]  # none too long: it cuts the closing special token off, where the tokenizer itself keeps it
    found = ask({**asked, "texts": texts})
    with load(models / "classifier", precision) as engine:
        for text, theirs in zip(texts, found, strict=True):
            ours = engine(text, top_k=None)
            assert [entry["label"] for entry in theirs] == [entry["label"] for entry in ours]
            for one, other in zip(theirs, ours, strict=True):
                assert one["score"] == pytest.approx(other["score"], abs=CLOSE[precision]), text[:40]


def _check_embedder(ask: Ask, models: Path, precision: str) -> None:
    asked = {
        "models": str(models),
        "name": "embedder",
        "task": "feature-extraction",
        "dtype": DTYPES[precision],
        "options": {"pooling": "mean", "normalize": True},
    }
    found = ask({**asked, "texts": TEXTS})
    with load(models / "embedder", precision) as engine:
        for text, theirs in zip(TEXTS, found, strict=True):
            ours = engine(text)
            assert np.asarray(theirs).shape == ours.shape
            cosine = np.dot(theirs, ours) / (np.linalg.norm(theirs) * np.linalg.norm(ours))
            assert float(cosine) >= SAME_DIRECTION[precision], text


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_classifies_with_a_toy_bundle(ask_node: Ask, models: Path, precision: str) -> None:
    _check_classifier(ask_node, models, precision)


def test_it_embeds_with_a_toy_bundle(ask_node: Ask, models: Path) -> None:
    _check_embedder(ask_node, models, "fp32")


@pytest.mark.assets
@pytest.mark.parametrize("precision", list(DTYPES))
def test_it_classifies_with_a_real_bundle(ask_node: Ask, real_models: Path, precision: str) -> None:
    _check_classifier(ask_node, real_models, precision)


@pytest.mark.assets
@pytest.mark.parametrize("precision", list(DTYPES))
def test_it_embeds_with_a_real_bundle(ask_node: Ask, real_models: Path, precision: str) -> None:
    _check_embedder(ask_node, real_models, precision)
