"""A trained student as a checkpoint folder: whole or not at all, beside its place first."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgeplm_export.distil.lesson import Lesson


def save_classifier(model: Any, lesson: Lesson, folder: Path, temperature: float | None) -> None:
    """Weights, config with the teacher's labels in their order, and the teacher's tokenizer, padding on the right."""
    labels = lesson.teacher.labels or ()
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {name: position for position, name in enumerate(labels)}
    model.config.problem_type = lesson.teacher.problem_type
    if temperature is not None:
        model.config.calibration_temperature = temperature
    model.eval()

    def write(place: Path) -> None:
        model.save_pretrained(place)
        save_tokenizer(lesson, place)

    replace(folder, write)


def save_tokenizer(lesson: Lesson, folder: Path) -> None:
    """The teacher's tokenizer; its limit of length is the student's, as nothing longer was learned."""
    tokenizer = copy.deepcopy(lesson.teacher.tokenizer)
    tokenizer.model_max_length = lesson.teacher.max_length
    tokenizer.save_pretrained(folder)


def replace(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, then give it the name; an OSError leaves what was there."""
    beside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        write(beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def number(words: str | None, default: int, *, allowed: Iterable[int]) -> int | None:
    """The one number behind a student's colon, `default` where there is none; None for anything else."""
    if words is None:
        return default
    return int(words) if words.isascii() and words.isdigit() and int(words) in allowed else None
