"""distil(): from a teacher and texts to the bundle of the student that is taken, the steps in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.distil.augment import augmented
from edgeplm_export.distil.students import STUDENTS, student_named
from edgeplm_export.distilling.bundling import bundled
from edgeplm_export.distilling.choose import Limits, choose, on_frontier, point
from edgeplm_export.distilling.course import Course, prepare
from edgeplm_export.distilling.learn import Learned, Wishes, check, learn
from edgeplm_export.distilling.standing import Exam, Standing, examine, inputs_of, measure, stand
from edgeplm_export.pack import check_place, staging, write_json, write_manifest
from edgeplm_export.pareto import draw
from edgeplm_export.quality.data import Data, engine_inputs
from edgeplm_export.quality.records import read_records
from edgeplm_export.tasks import infer_task
from edgeplm_export.training import processes
from edgeplm_runtime.bundle.manifest import MANIFEST_NAME
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import unknown
from edgeplm_runtime.machine import describe


TEACHER = "teacher"
REPORT = "proof/distillation.json"
PICTURE = "proof/ladder.svg"
SPACE_FACTOR = 2


@dataclass(frozen=True, kw_only=True)
class DistilResult:
    """The bundle that was written, which student it is and why, everything that was measured, and things to know.

    `teacher`: its name. `standings` starts with the teacher's. `work`: the folder from which the same command goes on.
    """

    path: Path
    teacher: str
    task: str
    chosen: Standing
    why: str
    standings: tuple[Standing, ...]
    frontier: tuple[str, ...]
    learned: tuple[Learned, ...]
    notes: tuple[str, ...]
    work: Path
    picture: str


def distil(
    teacher: str,
    out: str | Path,
    *,
    students: Sequence[str],
    train: str | Path,
    evaluation: str | Path | None = None,
    unlabelled: Sequence[str | Path] = (),
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    slices: Sequence[str] = (),
    schemes: Sequence[str] | None = None,
    wishes: Wishes | None = None,
    limits: Limits | None = None,
    augment: float = 0.0,
    masked_model: str | None = None,
    work: str | Path | None = None,
    trust_remote_code: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> DistilResult:
    """Train students of a teacher, export each through the ordinary gates, measure all, and write the one to take.

    students: like "transformer:3x384", "static:128"; several make a ladder. train: texts, with or without labels;
    evaluation: labelled texts that nothing is learned from. unlabelled: files of further texts. slices: columns of the
    evaluation by whose values the loss is shown. schemes: of quantize, which make further variants of each student;
    None for the one that the student's kind names. augment: further texts made
    of the training ones, as a share of them; masked_model: a masked language model that helps in it. work: a folder
    that keeps what was computed (default: OUT.work); the same call goes on from it after a kill.

    Of several processes (`accelerate launch`) only the first returns; the others end when they have trained.

    Raises BadInput, BadCheckpoint, CannotWrite, GateFailed (a gate, or no student keeps the limits).
    """
    wishes, limits = wishes or Wishes(), limits or Limits()
    check(wishes, students)
    out = Path(out)
    check_place(out, None)
    folder = Path(work) if work is not None else out.with_name(f"{out.name}.work")
    with processes.first_before_others():
        course = prepare(
            teacher,
            train=Path(train),
            evaluation=None if evaluation is None else Path(evaluation),
            unlabelled=[Path(path) for path in unlabelled],
            columns=columns,
            work=folder,
            seed=wishes.seed,
            trust_remote_code=trust_remote_code,
            augment=lambda model, rows: augmented(
                model, rows, share=augment, masked_model=masked_model, seed=wishes.seed, progress=progress
            ),
            progress=progress,
        )
    if processes.rank():
        for written in students:
            learn(course, written, wishes, progress)
        raise SystemExit
    exam = None
    if course.evaluation is not None:
        exam = examine(course.bundle, course.evaluation, metric, _values(course.evaluation, slices))
    notes = list(course.notes)
    if exam is None:
        notes.append("no --eval: the students were not examined, only trained and proved against their own checkpoints")
    learned, variants = _train_all(course, students, wishes, schemes, notes, progress)
    standings = _measure_all(course, variants, exam, progress)
    chosen, why = choose(standings[1:], limits)
    kept = on_frontier(standings)
    picture = _picture(course, standings, kept)
    _publish(
        out,
        Path(chosen.bundle),
        {
            "teacher": course.teacher.name,
            "chosen": chosen.name,
            "why": why,
            "standings": standings,
            "frontier": kept,
            "learned": learned,
            "machine": describe().cpu,
        },
        picture,
    )
    progress(f"wrote {out}")
    return DistilResult(
        path=out,
        teacher=course.teacher.name,
        task=course.model.task,
        chosen=chosen,
        why=why,
        standings=standings,
        frontier=tuple(kept),
        learned=tuple(learned),
        notes=tuple(notes),
        work=folder,
        picture=picture,
    )


def ladder_of(teacher: str, *, trust_remote_code: bool = False) -> tuple[str, ...]:
    """Every kind of student that the teacher's task has. Raises BadCheckpoint."""
    task = infer_task(open_checkpoint(teacher, revision=None, trust_remote_code=trust_remote_code))
    return tuple(name for name, row in STUDENTS.items() if task in row.tasks)


def _train_all(
    course: Course,
    students: Sequence[str],
    wishes: Wishes,
    schemes: Sequence[str] | None,
    notes: list[str],
    progress: Callable[[str], None],
) -> tuple[list[Learned], dict[str, tuple[str, Path, str]]]:
    """Each student trained and exported; by a name, (how the student is written, its bundle, the variant)."""
    learned: list[Learned] = []
    variants: dict[str, tuple[str, Path, str]] = {}
    for written in students:
        done, checkpoint = learn(course, written, wishes, progress)
        learned.append(done)
        wanted = [student_named(written)[0].scheme] if schemes is None else schemes
        bundle, problems = bundled(course, checkpoint, wanted, _named(progress, written))
        notes += [f"{written}: {problem}" for problem in problems]
        for variant in open_bundle(bundle).manifest.variants:
            variants[written if variant.name == "fp32" else f"{written} {variant.name}"] = (
                written,
                bundle,
                variant.name,
            )
    return learned, variants


def _named(progress: Callable[[str], None], student: str) -> Callable[[str], None]:
    return lambda message: progress(f"{student}: {message}")


def _measure_all(
    course: Course,
    variants: Mapping[str, tuple[str, Path, str]],
    exam: Exam | None,
    progress: Callable[[str], None],
) -> tuple[Standing, ...]:
    asked = {TEACHER: (TEACHER, course.bundle, "fp32"), **variants}
    texts = [
        part
        for example in course.examples[:2000]
        for part in engine_inputs(example.text, example.text_pair, course.manifest)
    ]
    speeds = measure(
        {name: (bundle, variant) for name, (_, bundle, variant) in asked.items()},
        inputs_of(exam, texts, course.bundle),
        progress,
    )
    found = []
    for name, (written, bundle, variant) in asked.items():
        progress(f"{name}: examined through its bundle")
        found.append(stand(name, written, bundle, variant, exam, speeds[name], speeds[TEACHER]))
    return tuple(found)


def _values(data: Data, columns: Sequence[str]) -> dict[str, list[str]]:
    """The values of further columns, in the order of the rows. Raises BadInput for a column that is not there."""
    for column in columns:
        if column not in data.columns.known:
            raise unknown("column of --eval", column, data.columns.known)
    if not columns:
        return {}
    records = dict(read_records(Path(data.path)))
    return {column: [str(records[row.row].get(column, "")) for row in data.rows] for column in columns}


def _picture(course: Course, standings: Sequence[Standing], kept: Sequence[str]) -> str:
    name = " ".join(course.teacher.name.split())
    metric = standings[0].metric
    return draw(
        [point(one) for one in standings],
        kept,
        title=f"students of {name} on {describe().cpu}",
        across="milliseconds of one sentence, from raw text (p50, log)",
        upward=f"1 - {metric} (log)" if metric else "not examined",
        logarithmic=True,
    )


def _publish(out: Path, bundle: Path, report: Any, picture: str) -> None:
    """The chosen bundle, with the report and the picture in its proof folder, whole or not at all."""
    opened = open_bundle(bundle)
    size = sum(entry.size for entry in opened.manifest.files.values())
    with staging(out, keep=None, needed_bytes=SPACE_FACTOR * size) as folder:
        for name in (*opened.manifest.files, MANIFEST_NAME):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / name, folder / name)
        write_json(folder / REPORT, msgspec.to_builtins(_portable(report)))
        (folder / PICTURE).write_text(picture, encoding="utf-8")
        write_manifest(folder, opened.manifest)


def _portable(report: dict[str, Any]) -> dict[str, Any]:
    """The report without the paths of this machine."""
    standings = [msgspec.structs.replace(one, bundle="") for one in report["standings"]]
    return {**report, "standings": standings}
