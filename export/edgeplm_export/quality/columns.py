"""Which column of a data file is the text, the second text and the label: by convention, or as the user says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeplm_runtime.errors import BadInput, shown, unknown


# The names that the Hub's data sets use; where several fit, the first does.
TEXT_COLUMNS: tuple[tuple[str, str | None], ...] = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("question", "context"),
    ("premise", "hypothesis"),
    ("text", None),
    ("sentence", None),
)
CLASS_COLUMNS = ("label", "labels")
VALUE_COLUMNS = ("score", "similarity", "label", "labels")
PARTS = ("text", "text_pair", "label")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that are read, and all that the file has."""

    text: str
    text_pair: str | None
    label: str | None
    known: tuple[str, ...]


def find_columns(
    path: Path, names: Iterable[str], given: Mapping[str, str] | None, *, labels: Sequence[str] = CLASS_COLUMNS
) -> Columns:
    """The columns of a file that has `names`. `given` maps text, text_pair or label to a name and wins.

    Raises BadInput: a name that is not there, no text among them.
    """
    known = tuple(names)
    given = dict(given or {})
    for part, name in given.items():
        if part not in PARTS:
            raise unknown("part of an example in --columns", part, PARTS)
        if name not in known:
            raise BadInput(f"{path}: for {part}: {unknown('column', name, known)}")
    by_name = {name.strip().lower(): name for name in reversed(known)}
    text, pair = given.get("text"), given.get("text_pair")
    if text is None:
        for first, second in TEXT_COLUMNS:
            if first in by_name and (second is None or second in by_name):
                text = by_name[first]
                pair = pair or (by_name[second] if second is not None else None)
                break
        else:
            raise BadInput(
                f"{path} has no column of texts that is known by its name. It has: "
                f"{', '.join(map(shown, known[:20])) or 'none'}. Name it with --columns text=NAME."
            )
    label = given.get("label") or next((by_name[name] for name in labels if name in by_name), None)
    if label in (text, pair):
        label = None
    return Columns(text=text, text_pair=pair, label=label, known=known)
