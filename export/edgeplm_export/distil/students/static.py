"""static:D: a table of static word-piece vectors, distilled from the teacher, and no attention at all.

For embeddings it is a StaticEmbedding folder of sentence-transformers, which that library reads; for classification
the table gets a small head and is trained on with the teacher's answers.
"""

from __future__ import annotations

from pathlib import Path

import torch

from edgeplm_export.architectures.static import StaticConfig, StaticForSequenceClassification
from edgeplm_export.distil.lesson import Lesson
from edgeplm_export.distil.pupil import EmbeddingPupil
from edgeplm_export.distil.saving import number, replace
from edgeplm_export.distil.students._student import Built, Student, classifier
from edgeplm_export.distil.vectors import piece_vectors, piece_weights, reduced, special_ids
from edgeplm_export.training.run import Settings
from edgeplm_runtime.errors import BadInput


WIDTH = 128
HEAD = 64


SETTINGS = Settings(epochs=12, batch_size=32, learning_rate=2e-3, patience=6, seed=0)


def _shape(words: str | None, lesson: Lesson) -> int:
    most = int(lesson.teacher.config.hidden_size)
    found = number(words, min(WIDTH, most), allowed=range(2, most + 1))
    if found is None:
        raise BadInput(
            f"the student static:{words} cannot be read; write static:WIDTH, from 2 to the teacher's {most}."
        )
    return found


def _table(lesson: Lesson, width: int) -> torch.Tensor:
    """(vocabulary, width) float32: components × weights."""
    vectors = reduced(piece_vectors(lesson), width, special_ids(lesson))
    return torch.from_numpy(vectors * piece_weights(lesson)[:, None])


def _build(lesson: Lesson, width: int) -> Built:
    table = _table(lesson, width)
    if lesson.teacher.task == "sentence-similarity":
        return _embedder(lesson, table)
    labels = len(lesson.teacher.labels or ())
    student = StaticForSequenceClassification(
        StaticConfig(
            vocab_size=len(table),
            hidden_size=table.shape[1],
            head_size=HEAD,
            num_labels=labels,
            pad_token_id=lesson.teacher.tokenizer.pad_token_id,
        )
    )
    # Rows of unit length on average: PyTorch's own initialization of the head expects inputs of that size.
    student.table.weight.data.copy_(table / table.norm(dim=1).mean())
    return classifier(student, lesson)


class _Table(torch.nn.Module):
    """Ids and mask (batch, tokens) → the mean of their rows, unit length (batch, width)."""

    def __init__(self, table: torch.Tensor, special: list[int]) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(table, freeze=False)
        real = torch.ones(len(table))
        real[special] = 0  # StaticEmbedding adds no special tokens to a text
        self.register_buffer("real", real, persistent=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None) -> torch.Tensor:
        weights = (mask * self.real[ids]).unsqueeze(-1)
        pooled = (self.table(ids) * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(pooled, dim=-1)


def _embedder(lesson: Lesson, table: torch.Tensor) -> Built:
    student = _Table(table, special_ids(lesson))

    def save(folder: Path, temperature: float | None) -> None:
        replace(folder, lambda place: _write(lesson, student.table.weight.detach(), place))

    return Built(module=EmbeddingPupil(student, cosine=False), save=save, logits=None)


def _write(lesson: Lesson, table: torch.Tensor, place: Path) -> None:
    """A folder that sentence-transformers and export read: StaticEmbedding and Normalize."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    whole = table.clone()
    whole[special_ids(lesson)] = 0.0
    tokenizer = Tokenizer.from_str(lesson.teacher.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    model = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=whole), Normalize()],
        prompts=dict(lesson.teacher.prompts),
        default_prompt_name=lesson.teacher.default_prompt,
        device="cpu",
    )
    model.save(str(place), create_model_card=False)


STUDENT = Student(
    name="static",
    example="static:128",
    tasks=frozenset({"text-classification", "sentence-similarity"}),
    shape=_shape,
    build=_build,
    settings=lambda shape, lesson: SETTINGS,
    scheme="int8-weights",
)
