"""How much of a teacher does each rung of the ladder keep on SST-2, and how much faster and smaller is it?

The teacher is minilm-l6-sst2; students learn from the training sentences and its answers, and are examined on the test
sentences, which nothing was chosen on. Everything is measured from raw text through the bundles. What was trained is
kept in the benchmark's work folder: a second run only measures, which takes a minute on a quiet machine.

    python -m benchmarks.distil_sst2 [STUDENT …]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import msgspec

from benchmarks._common import WORK, assets, versions, write
from edgeplm.cli._output import console, table
from edgeplm_export.distilling import Limits, Wishes, distil


TEACHER = "minilm-l6-sst2"
STUDENTS = ("transformer:3x384", "transformer:2x384", "transformer:2x192", "bilstm:128", "static:128", "ngram:16")
# Published, of BERT-base on GLUE: share of the teacher's score, and how many times as fast.
MARKS = {"DistilBERT (Sanh et al. 2019)": (0.97, 1.6), "TinyBERT-4 (Jiao et al. 2019)": (0.968, 9.4)}


def run(name: str, teacher: str, train: str, evaluation: str, students: Sequence[str], wishes: Wishes) -> None:
    """Distil, print the table, write results/MACHINE/NAME.json and .svg."""
    start = time.monotonic()
    found = distil(
        teacher,
        WORK / "distil" / name,
        students=students,
        train=train,
        evaluation=evaluation,
        wishes=wishes,
        limits=Limits(),
        work=WORK / "distil" / f"{name}.work",
        progress=lambda message: print(f"· {time.monotonic() - start:.0f} s: {message}", file=sys.stderr, flush=True),
    )
    made = table(f"{name}: students of {teacher.rpartition('/')[2]}", "student", "quality", "95 %", "kept", "agrees")
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
    write(
        name,
        {
            "standings": [msgspec.structs.replace(one, bundle="", forgotten=()) for one in found.standings],
            "frontier": found.frontier,
            "learned": found.learned,
            "notes": found.notes,
            "published": MARKS,
            "seconds_of_this_run": time.monotonic() - start,
            "versions": versions("torch", "transformers", "accelerate", "onnxruntime"),
        },
    )


def main() -> None:
    """SST-2, the ladder or the students that are named."""
    data = assets() / "data" / "sst2"
    students = tuple(sys.argv[1:]) or STUDENTS
    teacher = str(assets() / "models" / TEACHER)
    wishes = Wishes(patience=4)
    run("distil_sst2", teacher, str(data / "train.tsv"), str(data / "test.tsv"), students, wishes)


if __name__ == "__main__":
    main()
