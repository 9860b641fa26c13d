"""How much of a teacher does each rung of the ladder keep, and how much faster and smaller is it?

Students learn from a case's training texts, further texts without labels and the teacher's answers, and are examined on
the test texts, which nothing was chosen on. Everything is measured from raw text through the bundles. What was trained
is kept in the benchmark's work folder: a second run only examines and measures, which takes two minutes.

    python -m benchmarks.distil_ladder --case sst2 [STUDENT …]
    python -m benchmarks.distil_ladder --case sst2 --texts plain [STUDENT …]     # the training texts alone
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks._common import WORK, assets, versions, write
from benchmarks.trec6_teacher import teacher as trec6_teacher
from edgeplm.cli._output import console, table
from edgeplm_export.distilling import DistilResult, Limits, Wishes, distil


# Published, of BERT-base on GLUE: share of the teacher's score, and how many times as fast.
MARKS = {"DistilBERT (Sanh et al. 2019)": (0.97, 1.6), "TinyBERT-4 (Jiao et al. 2019)": (0.968, 9.4)}
SMALL = ("static:128", "ngram:16", "bilstm:128")
COMMON_WORDS = 8  # a text without a label that shares so many words in a row with a test text is taken for the same


@dataclass(frozen=True, kw_only=True)
class Case:
    """A teacher and its texts; `unlabelled`: further files of the assets' data."""

    teacher: Callable[[], Path]
    data: str
    students: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()
    augment: float = 0.5


CASES = {
    "sst2": Case(
        teacher=lambda: assets() / "models" / "minilm-l6-sst2",
        data="sst2",
        unlabelled=("subj/train.tsv", "subj/test.tsv"),
        students=("transformer:3x384", "transformer:2x256", "transformer:2x384", *SMALL),
    ),
    "trec6": Case(
        teacher=trec6_teacher,
        data="trec6",
        augment=0.0,
        students=("transformer:4x384", "transformer:3x384", "transformer:2x384", "transformer:3x192", *SMALL),
    ),
}
# What is learned from beside the labelled texts.
TEXTS = ("all", "plain", "unlabelled", "augmented")


def main() -> None:
    """Distil, print the table, write results/MACHINE/distil_CASE[_TEXTS].json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--texts", choices=TEXTS, default="all")
    parser.add_argument("students", nargs="*")
    given = parser.parse_args()
    case, start = CASES[given.case], time.monotonic()
    name = f"distil_{given.case}" + ("" if given.texts == "all" else f"_{given.texts}")
    folder = assets() / "data" / case.data
    further = _unasked(case, folder / "test.tsv") if given.texts in ("all", "unlabelled") else ()
    augment = case.augment if given.texts in ("all", "augmented") else 0.0
    found = distil(
        str(case.teacher()),
        WORK / "distil" / name,
        students=tuple(given.students) or case.students,
        train=folder / "train.tsv",
        evaluation=folder / "test.tsv",
        unlabelled=further,
        augment=augment,
        wishes=Wishes(patience=4),
        limits=Limits(),
        work=WORK / "distil" / f"distil_{given.case}.work",
        progress=lambda message: print(f"· {time.monotonic() - start:.0f} s: {message}", file=sys.stderr, flush=True),
    )
    _print(found, name)
    write(
        name,
        {
            "standings": [msgspec.structs.replace(one, bundle="", forgotten=()) for one in found.standings],
            "frontier": found.frontier,
            "learned": found.learned,
            "unlabelled": list(case.unlabelled) if further else [],
            "augment": augment,
            "notes": [note.replace(f"{assets()}/", "") for note in found.notes],
            "published": MARKS,
            "seconds_of_this_run": time.monotonic() - start,
            "versions": versions("torch", "transformers", "accelerate", "onnxruntime"),
        },
    )


def _print(found: DistilResult, name: str) -> None:
    made = table(name, "student", "quality", "95 %", "kept", "agrees")
    for column in ("ms", "texts/s", "× alone", "× lists", "MB", "ECE before", "after"):
        made.add_column(column)
    for one in found.standings:
        made.add_row(
            one.name,
            f"{one.quality:.4f}",
            f"{one.low:.3f} to {one.high:.3f}",
            f"{one.retention:.1%}",
            "–" if one.agreement is None else f"{one.agreement:.3f}",
            f"{one.speed.p50_ms:.3f}",
            f"{one.speed.texts_per_s:.0f}",
            f"{one.faster_alone:.1f}",
            f"{one.faster:.1f}",
            f"{one.size_bytes / 1e6:.1f}",
            "–" if one.ece_before is None else f"{one.ece_before:.4f}",
            "–" if one.ece_after is None else f"{one.ece_after:.4f}",
        )
    console().print(made)


def _unasked(case: Case, test: Path) -> tuple[Path, ...]:
    """The texts of the unlabelled files as one file, without those that are nearly a test text.

    Subj's and SST-2's sentences come from the same reviews, some with other punctuation, which distil() takes for
    other texts.
    """
    if not case.unlabelled:
        return ()
    asked = {piece for text in _column(test) for piece in _pieces(text)}
    texts = [text for name in case.unlabelled for text in _column(assets() / "data" / name)]
    kept = [text for text in texts if not asked.intersection(_pieces(text))]
    print(f"{len(texts) - len(kept)} of {len(texts)} unlabelled texts are nearly test texts: left out", file=sys.stderr)
    out = WORK / "distil" / f"{case.data}-unlabelled.txt"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return (out,)


def _column(path: Path) -> list[str]:
    """The texts of a table, whose first column they are."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row[0] for row in list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]]


def _pieces(text: str) -> Iterator[tuple[str, ...]]:
    """Every run of COMMON_WORDS words, letters and digits only; a shorter text as a whole."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    for start in range(max(1, len(words) - COMMON_WORDS + 1)):
        yield tuple(words[start : start + COMMON_WORDS])


if __name__ == "__main__":
    main()
