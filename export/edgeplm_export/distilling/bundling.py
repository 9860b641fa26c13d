"""A student's checkpoint as a bundle, by the ordinary export and quantize, with their ordinary gates."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from edgeplm_export.distilling.course import Course
from edgeplm_export.pipeline import export
from edgeplm_export.quality.data import MIN_ROWS, Example
from edgeplm_export.quality.questions import Question
from edgeplm_export.quantizing import NothingWritten, quantize
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import CannotWrite


MOST_CALIBRATION = 400  # texts; ranges change little beyond: docs/quantization.md


def bundled(
    course: Course, checkpoint: Path, schemes: Sequence[str], progress: Callable[[str], None]
) -> tuple[Path, list[str]]:
    """The student's bundle beside its checkpoint, and what could not be made of it. A finished one is found again.

    Ranges come from texts that were trained on, the judgement from those held out. Raises GateFailed (fp32 does not
    answer like PyTorch), CannotWrite.
    """
    bundle = checkpoint.with_name("bundle")
    if not bundle.is_dir():
        progress("exporting, proved against the student in PyTorch")
        pairs = None if course.model.pairs == "optional" or course.model.pairs == "refused" else course.model.pairs
        export(str(checkpoint), bundle, task=course.model.task, pairs=pairs)
    there = {variant.scheme for variant in open_bundle(bundle).manifest.variants}
    problems = []
    for scheme in schemes:
        if scheme in there:
            continue
        progress(f"making {scheme}")
        held = [course.examples[position] for position in sorted(course.held)]
        learned = [e for position, e in enumerate(course.examples) if position not in course.held]
        seen = {text for e in held for text in (e.text, e.text_pair)}
        calibration = [e for e in learned if e.text not in seen and e.text_pair not in (seen - {None})]
        try:
            quantize(
                bundle,
                scheme=scheme,
                calibration=_written(course, checkpoint.with_name("calibration.jsonl"), calibration[:MOST_CALIBRATION]),
                # Fewer rows prove nothing; the built-in texts then show whether the answers stay.
                evaluation=_written(course, checkpoint.with_name("held.jsonl"), held)
                if len(held) >= MIN_ROWS
                else None,
            )
        except NothingWritten as error:
            problems.append(f"{scheme} was left out: {'; '.join(str(a.problem) for a in error.attempts)}")
    return bundle, problems


def _written(course: Course, path: Path, examples: Iterable[Example]) -> Path:
    """The examples as a file that quantize reads."""
    labels = course.model.labels or ()
    lines = []
    for example in examples:
        row: dict[str, Any] = {"text": example.text}
        if example.text_pair is not None:
            row["text_pair"] = example.text_pair
        if example.label is not None and course.question is not Question.NOTHING:
            row["label"] = _named(example.label, labels, course.question)
        lines.append(json.dumps(row, ensure_ascii=False))
    if any("label" not in json.loads(line) for line in lines):  # all or none, or the reader refuses
        lines = [json.dumps({k: v for k, v in json.loads(line).items() if k != "label"}) for line in lines]
    beside = path.with_suffix(".partial")
    try:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}.") from None
    return path


def _named(label: Any, labels: Sequence[str], question: Question) -> Any:
    if question is Question.SETS:
        return [labels[position] for position in sorted(label)]
    return label if question is Question.VALUES else labels[label]
