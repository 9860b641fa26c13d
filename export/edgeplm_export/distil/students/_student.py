"""The contract of a student row: how it is described, built, trained and saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeplm_export.distil.lesson import Lesson
from edgeplm_export.distil.pupil import Pupil
from edgeplm_export.distil.saving import save_classifier
from edgeplm_export.training.run import Settings


@dataclass(frozen=True, kw_only=True)
class Built:
    """A student that can be trained: `module` gives a loss for a batch, `save(folder, temperature)` writes it.

    `logits(batch)` gives the student's own answers in eval mode, for calibration; None for embeddings.
    """

    module: torch.nn.Module
    save: Callable[[Path, float | None], None]
    logits: Callable[[dict[str, torch.Tensor]], torch.Tensor] | None


def classifier(student: Any, lesson: Lesson, *, saved: Callable[[], Any] | None = None, **inside: Any) -> Built:
    """A classifier beside its teacher. `saved()`: what is written, where it is not `student`; `inside`: Pupil's."""
    module = Pupil(
        student,
        question=lesson.question,
        temperature=lesson.temperature,
        gold_weight=lesson.gold_weight,
        **inside,
    )

    def logits(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = student(**batch).logits
        return found

    def save(folder: Path, temperature: float | None) -> None:
        save_classifier(student if saved is None else saved(), lesson, folder, temperature)

    return Built(module=module, save=save, logits=logits)


@dataclass(frozen=True, kw_only=True)
class Student:
    """A kind of student.

    `example` is how it is written, `shape(words, lesson)` reads what stands behind the colon (None where nothing does)
    and raises BadInput; `build(lesson, shape)` makes it for the teacher's task, one of `tasks`, and
    `settings(shape, lesson)` says how it is trained. `losses` are those that it can learn from beside the teacher's
    answers. `scheme` is the one of quantize that makes its small variant.
    """

    name: str
    example: str
    tasks: frozenset[str]
    shape: Callable[[str | None, Lesson], Any]
    build: Callable[[Lesson, Any], Built]
    settings: Callable[[Any, Lesson], Settings]
    scheme: str
    losses: frozenset[str] = frozenset()
