"""Examples from a file: a list with labels for evaluation, a stream of texts for calibration.

The formats and the conventions of columns: docs/quality-gate.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeplm_export.quality.columns import CLASS_COLUMNS, VALUE_COLUMNS, Columns, find_columns
from edgeplm_export.quality.questions import Label, Question, question_of, read_label
from edgeplm_export.quality.records import Record, read_records
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadInput, shown


MIN_CALIBRATION = 32  # named in the error for an empty file; fewer texts do not show a tensor's range
MIN_ROWS = 100  # below it no gate on data claims anything: docs/decisions/0014-quality-gate.md


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row. `label` is a position, a set of them, a number or None, as the data's question says."""

    text: str
    text_pair: str | None
    label: Label | None
    row: int


@dataclass(frozen=True, kw_only=True)
class Data:
    """Evaluation data: its rows, what they ask, and the columns they were read from.

    `path` names it in messages. `blank` counts the rows without a text that were left out.
    """

    path: str
    rows: tuple[Example, ...]
    question: Question
    columns: Columns
    blank: int = 0


def read_examples(
    path: Path, manifest: Manifest, *, columns: Mapping[str, str] | None = None, skip_blank: bool = False
) -> Data:
    """All examples of an evaluation file for the bundle of this manifest; without a label column, label is None.

    `columns` maps text, text_pair, label to names of columns. `skip_blank` leaves out rows without a text, whatever
    their label is: nothing can be learned from them. Raises BadInput, naming file, row and column.
    """
    records = read_records(path)
    first = next(records, None)
    if first is None:
        raise BadInput(f"{path} holds no examples; the gate needs {MIN_ROWS} at least, a few hundred to be sure.")
    found = _columns_for(path, first, manifest, columns)
    question = question_of(manifest, paired=found.text_pair is not None, labelled=found.label is not None)
    labels = manifest.labels or ()
    late_labels = set(_label_columns(manifest)) - {found.text, found.text_pair}
    uses_label = question not in (Question.NOTHING, Question.PAIRS)
    rows: list[Example] = []
    blank = 0
    for row, record in _chained(first, records):
        label = None
        if skip_blank and _is_blank(record.get(found.text)):
            blank += 1
            continue
        if found.label is None and (late := late_labels & set(record)):
            raise BadInput(f"{path}, row {row} has {shown(min(late))}, which the first row lacks; label all or none.")
        if uses_label:
            try:
                label = read_label(_value(path, row, record, found.label), question, labels)
            except BadInput as error:
                words = str(error).rstrip(".")
                raise BadInput(f"{path}, row {row}, column {shown(str(found.label))}: {words}.") from None
        text, pair = _texts(path, row, record, found)
        rows.append(Example(text=text, text_pair=pair, label=label, row=row))
    return Data(path=str(path), rows=tuple(rows), question=question, columns=found, blank=blank)


def stream_texts(
    path: Path, manifest: Manifest, *, columns: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """The engine's inputs, {"text": …} or with "text_pair", for calibration, however large the file is.

    A pair is two inputs where the model reads one text at a time. Labels are not read. Raises BadInput, naming
    file and row; at the first item for a file without any.
    """
    for example in stream_examples(path, manifest, columns=columns):
        yield from engine_inputs(example.text, example.text_pair, manifest)


def stream_examples(path: Path, manifest: Manifest, *, columns: Mapping[str, str] | None = None) -> Iterator[Example]:
    """The rows of a calibration file, without labels, one at a time."""
    records = read_records(path)
    first = next(records, None)
    if first is None:
        raise BadInput(f"{path} holds no texts; calibration needs {MIN_CALIBRATION} at least, better 200.")
    found = _columns_for(path, first, manifest, columns)
    for row, record in _chained(first, records):
        text, pair = _texts(path, row, record, found)
        yield Example(text=text, text_pair=pair, label=None, row=row)


def engine_inputs(text: str, text_pair: str | None, manifest: Manifest) -> list[dict[str, str]]:
    """What the engine is given for one row: an input, or two where the model reads each text of a pair alone."""
    if text_pair is None:
        return [{"text": text}]
    if manifest.text.pairs == "refused":
        return [{"text": text}, {"text": text_pair}]
    return [{"text": text, "text_pair": text_pair}]


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _label_columns(manifest: Manifest) -> tuple[str, ...]:
    values = manifest.task == "sentence-similarity" or len(manifest.labels or ()) == 1
    return VALUE_COLUMNS if values else CLASS_COLUMNS


def _columns_for(path: Path, first: Record, manifest: Manifest, given: Mapping[str, str] | None) -> Columns:
    found = find_columns(path, first[1], given, labels=_label_columns(manifest))
    if manifest.text.pairs == "required" and found.text_pair is None:
        raise BadInput(
            f"{path} has one text a row, in the column {shown(found.text)}; this model reads pairs. Name the second "
            "with --columns text_pair=NAME."
        )
    if manifest.task == "text-classification" and manifest.text.pairs == "refused" and found.text_pair is not None:
        raise BadInput(f"{path} has pairs of texts ({found.text}, {found.text_pair}); this model reads one text.")
    return found


def _texts(path: Path, row: int, record: Mapping[str, Any], columns: Columns) -> tuple[str, str | None]:
    text = _text(path, row, record, columns.text)
    return text, None if columns.text_pair is None else _text(path, row, record, columns.text_pair)


def _text(path: Path, row: int, record: Mapping[str, Any], column: str) -> str:
    value = _value(path, row, record, column)
    if not isinstance(value, str):
        raise BadInput(f"{path}, row {row}, column {shown(column)}: found {repr(value)[:40]}; expected a text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{path}, row {row}, column {shown(column)}: half a character (a lone surrogate) at position "
            f"{error.start}. Write the text as UTF-8."
        ) from None
    return value


def _value(path: Path, row: int, record: Mapping[str, Any], column: str | None) -> Any:
    if column is None or column not in record:
        listed = ", ".join(shown(str(name)) for name in list(record)[:20]) or "nothing"
        raise BadInput(f"{path}, row {row} has no {shown(str(column))}, as the first row has. It has: {listed}.")
    return record[column]


def _chained(first: Record, rest: Iterator[Record]) -> Iterator[Record]:
    yield first
    yield from rest
