"""A course: a teacher, its bundle, and texts with its answers; what every student of one run learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from scipy.optimize import linear_sum_assignment

from edgeplm_export.checkpoint import Checkpoint, open_checkpoint
from edgeplm_export.distil.lesson import Lesson
from edgeplm_export.distilling.store import Store
from edgeplm_export.model import TorchModel
from edgeplm_export.pipeline import export
from edgeplm_export.quality.data import Data, Example, read_examples, stream_examples
from edgeplm_export.quality.overlap import rows_seen
from edgeplm_export.quality.predictions import Predictions, predict
from edgeplm_export.quality.questions import Question, question_of
from edgeplm_export.tasks import load_model
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import BadInput, shown
from edgeplm_runtime.numerics import Floats


MIN_TEXTS = 100  # to learn from; fewer show a student almost no words
HELD_SHARE = 0.1  # kept from training, for early stopping and the temperature
MOST_SEEN = 0.1  # share of the texts to learn from that the evaluation may ask too (they are taken out)
NUMBERS = 0.9  # a column of texts that are numbers to this share is the wrong column
TASKS = ("text-classification", "sentence-similarity")


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a run has before any student is trained. `notes`: things to know, sentences without a full stop."""

    teacher: Checkpoint
    model: TorchModel
    bundle: Path
    manifest: Manifest
    store: Store
    question: Question
    examples: tuple[Example, ...]
    targets: Floats
    held: frozenset[int]
    evaluation: Data | None
    notes: tuple[str, ...]

    def lesson(self, progress: Callable[[str], None], **settings: Any) -> Lesson:
        """The course for one student."""
        source = self.teacher.hashes()
        return Lesson(
            checkpoint=self.teacher,
            teacher=self.model,
            question=self.question,
            examples=self.examples,
            targets=self.targets,
            held=self.held,
            max_length=self.model.max_length,
            cached=lambda kind, make: self.store.array(kind, source, make),
            progress=progress,
            **settings,
        )


def prepare(
    teacher: str,
    *,
    train: Path,
    evaluation: Path | None,
    unlabelled: Sequence[Path],
    columns: Mapping[str, str] | None,
    work: Path,
    seed: int,
    trust_remote_code: bool,
    augment: Callable[[TorchModel, Sequence[Example]], list[Example]],
    progress: Callable[[str], None],
) -> Course:
    """Read teacher and data, export the teacher, and let it answer every text once.

    Raises BadInput, BadCheckpoint, CannotWrite, GateFailed.
    """
    transformers.utils.logging.disable_progress_bar()
    source = open_checkpoint(teacher, revision=None, trust_remote_code=trust_remote_code)
    model = load_model(source, None)
    if model.task not in TASKS:
        raise BadInput(f"{source.name} is for {model.task}; distil has students for {' and '.join(TASKS)}.")
    if model.task == "text-classification" and model.problem_type == "regression" and len(model.labels or ()) > 1:
        raise BadInput(f"{source.name} gives {len(model.labels or ())} values; a regression of one can be distilled.")
    store = Store(root=work)
    bundle = store.folder("teacher", source.hashes())
    if not bundle.is_dir():
        progress("exporting the teacher: its answers come from the device engine, and it is what students are beside")
        export(teacher, bundle, trust_remote_code=trust_remote_code)
    manifest = open_bundle(bundle).manifest
    notes: list[str] = []
    data = read_examples(train, manifest, columns=columns, skip_blank=True)
    tested = None if evaluation is None else read_examples(evaluation, manifest, columns=columns, skip_blank=True)
    for part in (data, tested):
        if part is not None:
            _check_texts(part)
            if part.blank:
                notes.append(f"{part.path}: {part.blank} rows without a text were left out")
    labelled = list(data.rows)
    if model.task == "sentence-similarity":
        labelled = list(_single(labelled))
    else:
        _check_classes(data, model)
    extra = [row for path in unlabelled for row in _texts(path, manifest)]
    examples = _distinct([*labelled, *extra])
    if tested is not None:
        examples = _unseen(examples, tested, train, notes)
    if len(examples) < MIN_TEXTS:
        raise BadInput(
            f"{len(examples)} texts to learn from ({train}{', …' if unlabelled else ''}); {MIN_TEXTS} are the least, "
            "and thousands are better. Add rows, or texts without labels with --unlabelled."
        )
    held = _held([e.label is not None or data.question is Question.NOTHING for e in examples], len(labelled), seed)
    made = augment(model, [example for position, example in enumerate(examples) if position not in held])
    examples = [*examples, *made]
    # Without labels, too, the teacher's answers mean classes, sets or values.
    question = question_of(manifest, paired=data.columns.text_pair is not None, labelled=True)
    if model.task != "text-classification":
        question = Question.NOTHING
    targets = answers(store, bundle, "fp32", examples, progress)
    _check_order(data, examples, targets, model)
    return Course(
        teacher=source,
        model=model,
        bundle=bundle,
        manifest=manifest,
        store=store,
        question=question,
        examples=tuple(examples),
        targets=targets,
        held=held,
        evaluation=tested,
        notes=tuple(notes),
    )


def answers(
    store: Store, bundle: Path, variant: str, examples: Sequence[Example], progress: Callable[[str], None]
) -> Floats:
    """The answers of a bundle to texts, logits (n, labels) or vectors (n, dim), computed once for these texts.

    On the device engine, which sorts them into batches of similar length.
    """
    manifest = open_bundle(bundle).manifest
    key = [manifest.manifest_sha256, variant, [[example.text, example.text_pair] for example in examples]]

    def compute() -> Floats:
        progress(f"the teacher answers {len(examples)} texts")
        said = 0

        def told(done: int, total: int) -> None:
            nonlocal said
            if done * 10 // total > said:
                said = done * 10 // total
                progress(f"the teacher has answered {done} of {total} texts")

        return values_of(predict(bundle, variant, examples, progress=told))

    return store.array("answers", key, compute)


def values_of(found: Predictions) -> Floats:
    """Logits or vectors, whichever a bundle gives."""
    values = found.vectors if found.logits is None else found.logits
    assert values is not None
    return values


def _single(rows: Sequence[Example]) -> Iterator[Example]:
    """Every text alone: an embedder reads one at a time, and its own embedding is what is learned."""
    for row in rows:
        for text in (row.text, row.text_pair):
            if text is not None and text.strip():
                yield Example(text=text, text_pair=None, label=None, row=row.row)


def _texts(path: Path, manifest: Manifest) -> Iterator[Example]:
    """Texts without labels; one longer than a paragraph is what it is: the tokenizer cuts it."""
    rows = [row for row in stream_examples(path, manifest) if row.text.strip()]
    if not rows:
        raise BadInput(f"{path} holds no texts to learn from.")
    yield from _single(rows) if manifest.task == "sentence-similarity" else rows


def _distinct(rows: Sequence[Example]) -> list[Example]:
    """Each text once, the first of them, so that a labelled one wins over the same without a label."""
    found: dict[tuple[str, str | None], Example] = {}
    for row in rows:
        found.setdefault((row.text, row.text_pair), row)
    return list(found.values())


def _unseen(examples: list[Example], tested: Data, train: Path, notes: list[str]) -> list[Example]:
    """The examples that the evaluation does not ask; a few are taken out, many refuse the whole. Raises BadInput."""
    seen = rows_seen(examples, tested)
    if not seen:
        return examples
    if len(seen) > MOST_SEEN * len(examples):
        raise BadInput(
            f"{len(seen)} of {len(examples)} texts to learn from are among those of {tested.path}: the students would "
            f"be examined on what they have learned. Give an --eval that has no row of {train} or of --unlabelled."
        )
    notes.append(f"{len(seen)} texts that {tested.path} asks were taken out of what is learned")
    return [example for position, example in enumerate(examples) if position not in seen]


def _held(usable: Sequence[bool], labelled: int, seed: int) -> frozenset[int]:
    """Positions kept from training: a share of the labelled texts, of all texts where labels mean nothing."""
    places = np.flatnonzero(usable[:labelled] if any(usable[:labelled]) else np.ones(len(usable), dtype=bool))
    count = max(10, round(HELD_SHARE * len(places)))
    return frozenset(int(i) for i in np.random.default_rng(seed).permutation(places)[:count])


def _check_texts(data: Data) -> None:
    """Raises BadInput for a file without texts, and for a column of numbers taken for one."""
    if not data.rows:
        raise BadInput(f"{data.path} has {data.blank} rows, and none has a text in {shown(data.columns.text)}.")
    numbers = sum(_is_number(row.text) for row in data.rows)
    if numbers > NUMBERS * len(data.rows):
        raise BadInput(
            f"{data.path}: {numbers} of {len(data.rows)} texts in the column {shown(data.columns.text)} are numbers. "
            "Name the column that holds the texts with --columns text=NAME; it has "
            f"{', '.join(map(shown, data.columns.known))}."
        )


def _check_classes(data: Data, model: TorchModel) -> None:
    """Raises BadInput for labelled data in which nothing varies."""
    if data.question in (Question.CLASSES, Question.VALUES) and len({row.label for row in data.rows}) == 1:
        (label,) = {row.label for row in data.rows}
        name = (model.labels or ())[int(label)] if data.question is Question.CLASSES else label  # type: ignore[arg-type]
        raise BadInput(
            f"{data.path}: all {len(data.rows)} rows have the label {name!r}. A student learns nothing from one class; "
            "add rows of the others, or leave the label column out to learn from the teacher alone."
        )


def _check_order(data: Data, examples: Sequence[Example], targets: Floats, model: TorchModel) -> None:
    """Raises BadInput when the labels of the data fit the teacher's answers only in another order."""
    if data.question is not Question.CLASSES:
        return
    rows = [(int(e.label), int(t.argmax())) for e, t in zip(examples, targets, strict=True) if isinstance(e.label, int)]
    count = len(model.labels or ())
    table = np.zeros((count, count), dtype=np.int64)
    np.add.at(table, tuple(np.array(rows).T), 1)
    given, taken = linear_sum_assignment(-table)
    agreed, best = int(np.trace(table)), int(table[given, taken].sum())
    # Half of the rows is more than any teacher worth distilling leaves to a wrong order.
    if agreed < len(rows) / 2 and best > 2 * agreed:
        names = model.labels or ()
        swapped = ", ".join(f"{names[a]} is its {names[b]}" for a, b in zip(given, taken, strict=True) if a != b)
        raise BadInput(
            f"{data.path}: the teacher agrees with {agreed} of {len(rows)} labels, and with {best} in another order "
            f"({swapped}). Write the labels by name, or in the teacher's order: "
            f"{', '.join(f'{i} {name}' for i, name in enumerate(names))}."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
