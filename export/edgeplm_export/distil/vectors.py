"""Static vectors of a teacher's word pieces, as model2vec distils them (Tulkens and van Dongen 2024).

Each piece goes through the teacher alone; principal components make the vectors narrow; the weight of a piece falls
with its frequency, SIF (Arora et al. 2017): a / (a + p).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edgeplm_export.distil.lesson import Lesson
from edgeplm_runtime.numerics import Floats


PIECES_TOGETHER = 2048
SIF = 1e-3  # Arora et al. use 1e-3 to 1e-4 for natural text


def piece_vectors(lesson: Lesson) -> Floats:
    """(vocabulary, width) float32: the mean over the last hidden states of each piece between the special tokens."""

    def compute() -> Floats:
        lesson.progress(f"static vectors: {lesson.teacher.vocabulary} word pieces through the teacher")
        return _through_teacher(lesson)

    return lesson.cached("pieces", compute)


def reduced(vectors: Floats, width: int, special: Sequence[int]) -> Floats:
    """The first principal components (vocabulary, width) float32, centred; rows of special tokens are zero."""
    from sklearn.decomposition import PCA

    keep = np.ones(len(vectors), dtype=bool)
    keep[list(special)] = False
    width = min(width, *vectors.shape)
    found = PCA(n_components=width, svd_solver="covariance_eigh").fit(vectors[keep]).transform(vectors)
    found[~keep] = 0.0
    return np.asarray(found, dtype=np.float32)


def piece_weights(lesson: Lesson) -> Floats:
    """SIF weight of each piece, (vocabulary,) float32, from its counts in the texts.

    A piece that the texts do not have counts as half a time: rare, and weighted fully.
    """
    counts = np.full(lesson.teacher.vocabulary, 0.5)
    for row in lesson.rows():
        np.add.at(counts, row["input_ids"], 1.0)
    share = counts / counts.sum()
    return np.asarray(SIF / (SIF + share), dtype=np.float32)


def special_ids(lesson: Lesson) -> list[int]:
    """The ids of padding, [CLS] and their kin."""
    return sorted({int(token) for token in lesson.teacher.tokenizer.all_special_ids})


def _through_teacher(lesson: Lesson) -> Floats:
    tokenizer = lesson.teacher.tokenizer
    around = [int(token) for token in tokenizer("", verbose=False)["input_ids"]]
    # XLNet and its kin have all special tokens behind the text.
    before = around[:1] if tokenizer.padding_side == "right" else []
    after = around[len(before) :]
    encoder = _encoder(lesson.teacher.forward.inner)
    rows = []
    with torch.inference_mode():
        for start in range(0, lesson.teacher.vocabulary, PIECES_TOGETHER):
            pieces = range(start, min(start + PIECES_TOGETHER, lesson.teacher.vocabulary))
            ids = torch.tensor([[*before, piece, *after] for piece in pieces])
            found = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            rows.append(found.mean(dim=1).float().numpy())
    return np.concatenate(rows)


def _encoder(inner: Any) -> Any:
    """The bare encoder of a transformers classifier or of a sentence-transformers model."""
    if hasattr(inner, "base_model"):
        return inner.base_model
    return inner[0].model
