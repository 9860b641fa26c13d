"""ngram:D: hashed n-grams of word pieces with a linear head, fastText-like: the smallest and fastest student.

While it learns, a piece is the sum of its own row and the rows of its hashed character n-grams (Bojanowski et al.
2016): pieces that were never seen still get something. Both are one row when it is saved.
"""

from __future__ import annotations

import zlib

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from edgeplm_export.architectures.ngram import NgramConfig, NgramForSequenceClassification
from edgeplm_export.distil.lesson import Lesson
from edgeplm_export.distil.saving import number
from edgeplm_export.distil.students._student import Built, Student, classifier
from edgeplm_export.training.run import Settings
from edgeplm_runtime.errors import BadInput


WIDTH = 16
BUCKETS = 2**16  # for pairs of pieces; 7,000 sentences have about 120,000 pairs, most of them once
CHARACTER_BUCKETS = 2**15
CHARACTERS = (3, 4, 5)
MOST_CHARACTER_GRAMS = 20


SETTINGS = Settings(epochs=12, batch_size=32, learning_rate=5e-3, patience=6, seed=0)


def _shape(words: str | None, lesson: Lesson) -> int:
    found = number(words, WIDTH, allowed=range(2, 257))
    if found is None:
        raise BadInput(f"the student ngram:{words} cannot be read; write ngram:WIDTH, from 2 to 256.")
    return found


class Learning(nn.Module):
    """The classifier while it learns: rows of pieces have their character n-grams added."""

    def __init__(self, model: NgramForSequenceClassification, grams: torch.Tensor) -> None:
        """`grams` (vocabulary, MOST_CHARACTER_GRAMS) int64: 1 + bucket of each character n-gram, 0 for none."""
        super().__init__()
        self.model = model
        self.config = model.config
        self.characters = nn.Embedding(CHARACTER_BUCKETS + 1, model.config.hidden_size, padding_idx=0)
        self.register_buffer("grams", grams, persistent=False)
        self.register_buffer("share", 1.0 / (grams != 0).sum(dim=1).clamp(min=1), persistent=False)
        for table in (model.pieces, model.grams, self.characters):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.zeros_(self.characters.weight[0])

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """The whole row of each piece: ids (…) → (…, width)."""
        added: torch.Tensor = self.characters(self.grams[ids]).sum(dim=-2) * self.share[ids].unsqueeze(-1)
        found: torch.Tensor = self.model.pieces(ids)
        return found + added

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: object) -> SequenceClassifierOutput:
        """As the classifier's own."""
        pooled = self.model.pool(self.rows(input_ids), input_ids, attention_mask)
        return SequenceClassifierOutput(logits=self.model.classifier(self.model.dropout(pooled)))

    def folded(self) -> NgramForSequenceClassification:
        """The classifier alone, with the same answers."""
        whole = NgramForSequenceClassification(self.model.config)
        whole.load_state_dict(self.model.state_dict())
        with torch.no_grad():
            whole.pieces.weight.copy_(self.rows(torch.arange(self.model.config.vocab_size)))
        return whole


def character_grams(tokens: list[str]) -> torch.Tensor:
    """The buckets of each piece's character n-grams, with < and > at its ends; crc32, the same on every machine."""
    found = torch.zeros((len(tokens), MOST_CHARACTER_GRAMS), dtype=torch.int64)
    for row, token in enumerate(tokens):
        word = f"<{token}>"
        grams = [word[i : i + size] for size in CHARACTERS for i in range(len(word) - size + 1)]
        for column, gram in enumerate(grams[:MOST_CHARACTER_GRAMS]):
            found[row, column] = 1 + zlib.crc32(gram.encode()) % CHARACTER_BUCKETS
    return found


def _build(lesson: Lesson, width: int) -> Built:
    size = lesson.teacher.vocabulary
    model = NgramForSequenceClassification(
        NgramConfig(
            vocab_size=size,
            hidden_size=width,
            buckets=BUCKETS,
            order=2,
            num_labels=len(lesson.teacher.labels or ()),
            pad_token_id=lesson.teacher.tokenizer.pad_token_id,
        )
    )
    tokens = [str(token) for token in lesson.teacher.tokenizer.convert_ids_to_tokens(list(range(size)))]
    learning = Learning(model, character_grams(tokens))
    return classifier(learning, lesson, saved=learning.folded)


STUDENT = Student(
    name="ngram",
    example="ngram:16",
    tasks=frozenset({"text-classification"}),
    shape=_shape,
    build=_build,
    settings=lambda shape, lesson: SETTINGS,
    scheme="int8-weights",
)
