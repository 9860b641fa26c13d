"""bilstm:H: a bidirectional LSTM over word pieces (Tang et al. 2019, arXiv:1903.12136).

Its word vectors start as the principal components of the teacher's word embeddings.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeplm_export.architectures.bilstm import BilstmConfig, BilstmForSequenceClassification
from edgeplm_export.distil.lesson import Lesson
from edgeplm_export.distil.saving import number
from edgeplm_export.distil.students._student import Built, Student, classifier
from edgeplm_export.distil.vectors import reduced, special_ids
from edgeplm_export.training.run import Settings
from edgeplm_runtime.errors import BadInput


UNITS = 128
WORD_WIDTH = 128


SETTINGS = Settings(epochs=10, batch_size=32, learning_rate=1e-3, patience=5, seed=0)


def _shape(words: str | None, lesson: Lesson) -> int:
    found = number(words, UNITS, allowed=range(2, 1025))
    if found is None:
        raise BadInput(f"the student bilstm:{words} cannot be read; write bilstm:UNITS, from 2 to 1024.")
    if lesson.teacher.tokenizer.padding_side != "right":
        raise BadInput("a bilstm student needs a tokenizer that pads on the right; this teacher's pads on the left.")
    return found


def _build(lesson: Lesson, units: int) -> Built:
    inner: Any = lesson.teacher.forward.inner
    words = inner.get_input_embeddings().weight.detach().numpy()
    table = torch.from_numpy(reduced(words, WORD_WIDTH, special_ids(lesson)))
    student = BilstmForSequenceClassification(
        BilstmConfig(
            vocab_size=len(table),
            embedding_size=table.shape[1],
            hidden_size=units,
            head_size=units,
            num_labels=len(lesson.teacher.labels or ()),
            pad_token_id=lesson.teacher.tokenizer.pad_token_id,
        )
    )
    student.table.weight.data.copy_(table / table.std())
    return classifier(student, lesson)


STUDENT = Student(
    name="bilstm",
    example="bilstm:128",
    tasks=frozenset({"text-classification"}),
    shape=_shape,
    build=_build,
    settings=lambda shape, lesson: SETTINGS,
    scheme="int8-weights",
)
