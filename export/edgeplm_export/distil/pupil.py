"""A student beside its teacher, as one module that gives a loss for a batch: what the Trainer trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgeplm_export.distil import losses
from edgeplm_export.quality.questions import Question


SOFT = {Question.CLASSES: losses.soft_labels, Question.SETS: losses.soft_sets, Question.VALUES: losses.values}
# What a student of the same family can learn from inside the teacher, and the weight beside the soft labels.
INNER = {"hidden_states": 0.1, "attention": 1.0, "value_relations": 1.0}
RELATION_HEADS = 12  # at most: MiniLM v2 uses 48 of a BERT-large, 12 for students of 384


class Pupil(nn.Module):
    """A classifier that learns the teacher's logits, and the labels where there are some.

    Batch: input_ids, attention_mask (batch, tokens) int64, token_type_ids if the student reads them, target and gold
    (batch, labels) float32, known (batch,) float32. With `inner` losses the teacher runs beside it.
    """

    def __init__(
        self,
        student: Any,
        *,
        question: Question,
        temperature: float,
        gold_weight: float,
        teacher: Any = None,
        inner: Sequence[str] = (),
        layers: Sequence[int] = (),
    ) -> None:
        """`layers`: for each layer of the student the teacher's layer that it learns from."""
        super().__init__()
        self.student = student
        self.question = question
        self.temperature = temperature
        self.gold_weight = gold_weight
        self.inner = tuple(inner)
        self.layers = tuple(layers)
        self._teacher = (teacher,)  # in a tuple: it is no part of what is trained and saved
        self.widen: nn.Module = nn.Identity()
        if "hidden_states" in self.inner and student.config.hidden_size != teacher.config.hidden_size:
            self.widen = nn.Linear(student.config.hidden_size, teacher.config.hidden_size, bias=False)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        target: torch.Tensor,
        gold: torch.Tensor,
        known: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """{"loss": a scalar}. Out of training only the soft labels count: that is what early stopping watches."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        inside = self.training and bool(self.inner)
        asked = {"output_hidden_states": True, "output_attentions": "attention" in self.inner} if inside else {}
        found = self.student(**features, **asked)
        loss = SOFT[self.question](found.logits, target, self.temperature)
        if not self.training:
            return {"loss": loss}
        loss = (1 - self.gold_weight) * loss + self.gold_weight * self._on_labels(found.logits, gold, known)
        if inside:
            loss = loss + self._inside(found, features, attention_mask)
        return {"loss": loss}

    def _relation_heads(self, teacher: Any) -> int:
        """The most parts, up to RELATION_HEADS, into which both widths can be cut."""
        both = math.gcd(self.student.config.hidden_size, teacher.config.hidden_size)
        return max(heads for heads in range(1, RELATION_HEADS + 1) if both % heads == 0)

    def _on_labels(self, logits: torch.Tensor, gold: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """The usual loss on the labelled rows of the batch; 0 where there are none."""
        if self.question is Question.CLASSES:
            each = -(gold * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
        elif self.question is Question.SETS:
            each = functional.binary_cross_entropy_with_logits(logits, gold, reduction="none").mean(dim=-1)
        else:
            each = ((logits - gold) ** 2).mean(dim=-1)
        return (each * known).sum() / known.sum().clamp(min=1)

    def _inside(self, found: Any, features: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        (teacher,) = self._teacher
        with torch.no_grad():
            shown = teacher(**features, output_hidden_states=True, output_attentions="attention" in self.inner)
        total = mask.new_zeros((), dtype=torch.float32)
        if "hidden_states" in self.inner:
            for mine, other in enumerate(self.layers, start=1):
                total = total + INNER["hidden_states"] * losses.hidden_states(
                    self.widen(found.hidden_states[mine]), shown.hidden_states[other + 1], mask
                )
        if "attention" in self.inner:
            for mine, other in enumerate(self.layers):
                total = total + INNER["attention"] * losses.attention(
                    found.attentions[mine], shown.attentions[other], mask
                )
        if "value_relations" in self.inner:
            total = total + INNER["value_relations"] * losses.value_relations(
                found.hidden_states[-1], shown.hidden_states[-1], mask, self._relation_heads(teacher)
            )
        return total


class EmbeddingPupil(nn.Module):
    """A sentence embedder that learns the teacher's embeddings and their similarities.

    `embed(input_ids, attention_mask, token_type_ids or None)` → (batch, dim), differentiable. Where the widths differ
    only the similarities within a batch can be learned.
    """

    def __init__(self, student: nn.Module, *, cosine: bool) -> None:
        super().__init__()
        self.student = student
        self.cosine = cosine

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        target: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """{"loss": a scalar}; target (batch, dim of the teacher) float32."""
        vectors = self.student(input_ids, attention_mask, token_type_ids)
        loss = SIMILARITY_WEIGHT * losses.similarities(vectors, target)
        if self.cosine:
            loss = loss + losses.cosine(vectors, target)
        return {"loss": loss}


SIMILARITY_WEIGHT = 10.0  # a mean square difference of cosines is about a tenth of 1 - cosine
