"""One student: built, trained, calibrated and written as a checkpoint; found again if all of that was done before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import transformers

from edgeplm_export.distil.students import STUDENTS, Built, student_named
from edgeplm_export.distilling.course import Course
from edgeplm_export.distilling.store import digest
from edgeplm_export.pack import write_json
from edgeplm_export.quality.calibration import FEWEST, fit_temperature
from edgeplm_export.quality.questions import Question
from edgeplm_export.training import processes
from edgeplm_export.training.run import Row, Settings, collate, train
from edgeplm_runtime.errors import BadInput, CannotWrite, unknown
from edgeplm_runtime.numerics import Floats


DONE = "done.json"
ANSWERED_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the caller sets; None leaves it to the student. `losses` are added to the soft labels where they fit."""

    losses: tuple[str, ...] = ()
    temperature: float = 2.0
    gold_weight: float = 0.2
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    patience: int | None = None
    seed: int = 0

    def settings(self, given: Settings) -> Settings:
        """The student's settings, with what the caller wishes."""
        wished = {
            name: value
            for name in ("epochs", "batch_size", "learning_rate", "patience")
            if (value := getattr(self, name)) is not None
        }
        return replace(given, seed=self.seed, **wished)


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A trained student. `checkpoint` is relative to its run's folder.

    `seconds` and `cpu_seconds`, the clock's and the cores', are of the last process that trained it: a run that was
    killed and went on took longer.
    """

    student: str
    checkpoint: str
    steps: int
    best_step: int
    held_loss: float
    stopped_early: bool
    seconds: float
    cpu_seconds: float
    temperature: float | None


def check(wishes: Wishes, students: Sequence[str]) -> None:
    """Raises BadInput for wishes that no training can fulfil, before anything is computed."""
    known = sorted({name for row in STUDENTS.values() for name in row.losses})
    for name in wishes.losses:
        if name not in known:
            raise unknown("loss", name, known)
    for name, least, most in (("epochs", 1, 10_000), ("batch_size", 1, 100_000), ("patience", 1, 10_000)):
        value = getattr(wishes, name)
        if value is not None and not least <= value <= most:
            raise BadInput(f"{name} is {value}; give a number from {least} to {most}.")
    if wishes.learning_rate is not None and not 0 < wishes.learning_rate < 1:
        raise BadInput(f"learning_rate is {wishes.learning_rate}; give a number between 0 and 1, like 0.0001.")
    if not (0 < wishes.temperature < math.inf and 0 <= wishes.gold_weight <= 1):
        raise BadInput(
            f"temperature is {wishes.temperature}, gold_weight {wishes.gold_weight}; give a temperature above 0 and a "
            "weight from 0 (the teacher alone) to 1 (the labels alone)."
        )
    if not students:
        raise BadInput(
            f"no student is named; name one or more of {', '.join(row.example for row in STUDENTS.values())}."
        )
    if len(set(students)) != len(students):
        raise BadInput("a student is named twice; name each once.")
    for written in students:
        student_named(written)


def learn(course: Course, written: str, wishes: Wishes, progress: Callable[[str], None]) -> tuple[Learned, Path]:
    """Train the student that is `written` so, or find it trained; what was learned, and the checkpoint's folder.

    Of several processes that train it together the first one writes it. Raises BadInput (a shape that this teacher does
    not allow), CannotWrite.
    """
    student, words = student_named(written)
    if course.model.task not in student.tasks:
        fitting = ", ".join(row.example for row in STUDENTS.values() if course.model.task in row.tasks)
        raise BadInput(f"there is no {student.name} student for {course.model.task}; there are {fitting}.")
    lesson = course.lesson(
        lambda message: progress(f"{written}: {message}"),
        losses=tuple(name for name in wishes.losses if name in student.losses),
        temperature=wishes.temperature,
        gold_weight=wishes.gold_weight,
    )
    shape = student.shape(words, lesson)
    settings = wishes.settings(student.settings(shape, lesson))
    key = _key(course, written, wishes, settings)
    name = f"{course.teacher.name}-{written.replace(':', '-')}"
    folder = course.store.root / "runs" / f"{name}-{digest(key)}"
    if (found := _done(folder)) is not None and (folder / found.checkpoint).is_dir():
        progress(f"{written}: trained before, with the same data and settings ({folder})")
        return found, folder / found.checkpoint
    torch.manual_seed(settings.seed)  # for what the student initializes at random
    with processes.first_before_others():
        built = student.build(lesson, shape)
    rows, held = lesson.split()
    progress(f"{written}: learning from {len(rows)} texts, {len(held)} held out, in {folder}")
    start, worked = time.monotonic(), time.process_time()
    trained = train(
        built.module,
        rows,
        held,
        settings=settings,
        pad_token_id=int(course.model.tokenizer.pad_token_id or 0),
        folder=folder / "trainer",
        progress=lesson.progress,
    )
    built.module.eval()
    temperature = _temperature(course, built, held)
    try:
        if not processes.rank():
            built.save(folder / name, temperature)
        learned = Learned(
            student=written,
            checkpoint=name,
            steps=trained.steps,
            best_step=trained.best_step,
            held_loss=trained.held_loss,
            stopped_early=trained.stopped_early,
            seconds=time.monotonic() - start,
            cpu_seconds=time.process_time() - worked,
            temperature=temperature,
        )
        if not processes.rank():
            write_json(folder / f"{DONE}.partial", learned)
            (folder / f"{DONE}.partial").rename(folder / DONE)
    except OSError as error:
        raise CannotWrite(
            f"{folder} cannot be written: {error.strerror or error}. The training is kept there: make room and run the "
            "same command again."
        ) from None
    return learned, folder / name


def _done(folder: Path) -> Learned | None:
    try:
        return msgspec.json.decode((folder / DONE).read_bytes(), type=Learned)
    except (OSError, msgspec.MsgspecError):
        return None


def _key(course: Course, written: str, wishes: Wishes, settings: Settings) -> Any:
    """All that the weights depend on, but for the machine."""
    return [
        course.teacher.hashes(),
        written,
        vars(settings),
        [wishes.losses, wishes.temperature, wishes.gold_weight],
        [
            [e.text, e.text_pair, sorted(e.label) if isinstance(e.label, frozenset) else e.label]
            for e in course.examples
        ],
        sorted(course.held),
        [torch.__version__, transformers.__version__, metadata.version("edgeplm")],
    ]


def _temperature(course: Course, built: Built, held: Sequence[Row]) -> float | None:
    """Fitted on the labelled held-out texts; None where there are too few, or no probabilities."""
    if built.logits is None or course.question not in (Question.CLASSES, Question.SETS):
        return None
    labelled = [row for row in held if row["known"]]
    if len(labelled) < FEWEST:
        return None
    logits = answer(built, labelled, int(course.model.tokenizer.pad_token_id or 0))
    gold = np.stack([row["gold"] for row in labelled])
    return fit_temperature(
        logits, gold.astype(bool) if course.question is Question.SETS else gold.argmax(axis=1), course.question
    )


def answer(built: Built, rows: Sequence[Row], pad_token_id: int) -> Floats:
    """The student's own logits (n, labels) float32 for rows of a batch."""
    assert built.logits is not None
    collated = collate(pad_token_id)
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), ANSWERED_TOGETHER):
            batch = collated(rows[start : start + ANSWERED_TOGETHER])
            inputs = {name: batch[name] for name in batch if name not in ("target", "gold", "known")}
            found.append(built.logits(inputs).float().numpy())
    return np.concatenate(found)
