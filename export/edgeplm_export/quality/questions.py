"""What labelled data can ask of a bundle: the kind of its labels, read by its task."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadInput, unknown


Label = int | float | frozenset[int]


class Question(StrEnum):
    """What is compared with what."""

    CLASSES = "one label of several"
    SETS = "any number of labels"
    VALUES = "a value (regression)"
    SIMILARITY = "the score of a pair of texts"
    PAIRS = "pairs of texts that belong together"
    NOTHING = "no labels"


def question_of(manifest: Manifest, *, paired: bool, labelled: bool) -> Question:
    """The question that data with, or without, a second text and labels asks of this bundle."""
    if manifest.task == "text-classification" and labelled:
        if manifest.problem_type == "multi_label_classification":
            return Question.SETS
        if len(manifest.labels or ()) == 1:  # transformers, too, trains a model of one label as a regression
            return Question.VALUES
        # A label column has one number; a regression of several needs several.
        return Question.NOTHING if manifest.problem_type == "regression" else Question.CLASSES
    if manifest.task == "sentence-similarity" and paired:
        return Question.SIMILARITY if labelled else Question.PAIRS
    return Question.NOTHING


def read_label(raw: Any, question: Question, labels: tuple[str, ...]) -> Label:
    """The label of one row, as the question needs it. Raises BadInput without file and row; the caller adds them."""
    if raw is None or (question is not Question.SETS and isinstance(raw, str) and not raw.strip()):
        raise BadInput("there is no label; expected one in every row, or no label column at all")
    if question is Question.SETS:  # an empty text is an empty set
        if isinstance(raw, list):
            return frozenset(_position(part, labels) for part in raw)
        if isinstance(raw, str) and raw.strip() not in labels:
            return frozenset(_position(part, labels) for part in raw.split(",") if part.strip())
        return frozenset({_position(raw, labels)})
    if question is Question.CLASSES:
        return _position(raw, labels)
    try:
        value = math.nan if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(f"{str(raw)[:80]!r} is no number; this data needs one, such as 3.5, in every row") from None
    if not math.isfinite(value):
        raise BadInput(f"{raw!r} is not a finite number; remove the row or mend its score")
    return value


def _position(raw: Any, labels: tuple[str, ...]) -> int:
    """The position of a label that is given by name (the case of letters does not matter) or by its number."""
    word = str(raw).strip()
    if word in labels:
        return labels.index(word)
    folded = [name.casefold() for name in labels]
    if folded.count(word.casefold()) == 1:
        return folded.index(word.casefold())
    # Where names are numbers themselves, a number that is no name is a mistake, not a position.
    if not isinstance(raw, bool) and not any(_is_number(name) for name in labels) and _is_number(word):
        number = float(word)  # a table with a gap somewhere writes 1 as 1.0
        if number.is_integer() and 0 <= number < len(labels):
            return int(number)
        raise BadInput(f"the label {word[:40]} is not the number of a label; they go from 0 to {len(labels) - 1}")
    raise unknown("label", word, labels)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
