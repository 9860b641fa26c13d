"""Where a student stands beside its teacher: quality, agreement, size and speed, all through the bundles."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from scipy import stats

from edgeplm_export.quality.calibration import expected_calibration_error
from edgeplm_export.quality.data import Data, engine_inputs
from edgeplm_export.quality.metrics import Array, Metric, answers_of, gold_of, metric_for
from edgeplm_export.quality.predictions import Predictions, predict
from edgeplm_export.quality.questions import Question
from edgeplm_export.quality.significance import compare
from edgeplm_export.quality.slices import Slice, all_slices
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import TruncationWarning, load
from edgeplm_runtime.numerics import cosine


TURNS = 5
ALONE = 60  # texts that are asked one by one in a turn
TOGETHER = 600  # texts that are asked as a list
LEAST_SECONDS = 0.3  # of a turn's list: a short one would measure the clock
UNCOUNTED = 5
CONFIDENCE = 0.95
SHOWN_FORGOTTEN = 20


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """From raw text through the engine: milliseconds of one sentence (p50), texts a second of a list."""

    p50_ms: float
    texts_per_s: float


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """A row that the teacher answers rightly and the student does not. Its text stays out of the report."""

    row: int
    gold: str
    student: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A variant of a student, or the teacher itself.

    `quality` is the value of `metric`, between `low` and `high` with 95 %; `retention` is its share of the teacher's,
    `drop` the difference, between `drop_low` and `drop_high` with 95 % each. `agreement`: share of equal answers, or
    the mean cosine where the widths are the same. `ece` before and after the temperature. What the data or the task
    does not give is None.
    """

    name: str
    student: str
    variant: str
    bundle: str
    size_bytes: int
    speed: Speed
    metric: str | None = None
    n: int = 0
    quality: float | None = None
    low: float | None = None
    high: float | None = None
    retention: float | None = None
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    agreement: float | None = None
    faster: float = 1.0
    faster_alone: float = 1.0
    temperature: float | None = None
    ece_before: float | None = None
    ece_after: float | None = None
    slices: tuple[Slice, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Exam:
    """The evaluation, asked of the teacher. `columns` has the values (n,) of the columns that are sliced by."""

    data: Data
    labels: tuple[str, ...]
    teacher: Predictions
    metric: Metric | None
    gold: Array | None
    columns: Mapping[str, Sequence[str]]


def examine(bundle: Path, data: Data, metric: str | None, columns: Mapping[str, Sequence[str]]) -> Exam:
    """Ask the teacher. Raises BadInput (a metric that does not fit), GateFailed (one label only)."""
    labels = open_bundle(bundle).manifest.labels or ()
    chosen = metric_for(data, metric, labels)
    return Exam(
        data=data,
        labels=labels,
        teacher=predict(bundle, "fp32", data.rows),
        metric=chosen,
        gold=None if chosen is None else gold_of(data, labels),
        columns=columns,
    )


def stand(
    name: str, student: str, bundle: Path, variant: str, exam: Exam | None, speed: Speed, teacher: Speed
) -> Standing:
    """Ask one variant of a bundle the exam and compare it with the teacher."""
    opened = open_bundle(bundle)
    size = sum(entry.size for file, entry in opened.manifest.files.items() if file in opened.variant(variant).files)
    plain = Standing(
        name=name,
        student=student,
        variant=variant,
        bundle=str(bundle),
        size_bytes=size,
        speed=speed,
        faster=speed.texts_per_s / teacher.texts_per_s,
        faster_alone=teacher.p50_ms / speed.p50_ms,
        temperature=opened.manifest.temperature,
    )
    if exam is None:
        return plain
    found = predict(bundle, variant, exam.data.rows)
    plain = msgspec.structs.replace(plain, n=len(exam.data.rows), agreement=_agreement(exam, found))
    if exam.metric is None or exam.gold is None:
        return plain
    before, after = answers_of(exam.data, exam.teacher), answers_of(exam.data, found)
    difference = compare(exam.metric, exam.gold, before, after)
    low, high = _interval(exam.metric, exam.gold, after)
    slices = all_slices(
        exam.metric,
        exam.gold,
        before,
        after,
        lengths=exam.teacher.lengths,
        labels=exam.labels,
        columns=exam.columns,
    )
    return msgspec.structs.replace(
        plain,
        metric=exam.metric.name,
        quality=difference.after,
        low=low,
        high=high,
        retention=None if exam.metric.error or difference.before <= 0 else difference.after / difference.before,
        drop=difference.drop,
        drop_low=difference.low,
        drop_high=difference.high,
        slices=tuple(sorted(slices, key=lambda part: -part.drop)),
        forgotten=_forgotten(exam, before, after),
        **_calibration(exam, found, opened.manifest.temperature),
    )


def measure(
    bundles: Mapping[str, tuple[Path, str]], inputs: Sequence[dict[str, str]], progress: Callable[[str], None]
) -> dict[str, Speed]:
    """The speed of each (bundle, variant) from raw text, in turns, so that a machine that drifts drifts for all.

    One engine at a time: several in one process disturb each other.
    """
    alone: dict[str, list[float]] = {name: [] for name in bundles}
    together: dict[str, list[float]] = {name: [] for name in bundles}
    some = list(inputs[:TOGETHER])
    for turn in range(TURNS):
        progress(f"measuring speed from raw text: turn {turn + 1} of {TURNS}")
        for name, (bundle, variant) in bundles.items():
            with load(bundle, variant, check_hashes=False, profile="off") as engine, warnings.catch_warnings():
                warnings.simplefilter("ignore", TruncationWarning)
                for row in some[:UNCOUNTED]:
                    engine(row)
                for row in some[:ALONE]:
                    start = time.perf_counter()
                    engine(row)
                    alone[name].append((time.perf_counter() - start) * 1e3)
                done, start = 0, time.perf_counter()
                while (spent := time.perf_counter() - start) < LEAST_SECONDS or not done:
                    engine(some)
                    done += len(some)
                together[name].append(done / (time.perf_counter() - start) if spent else 0.0)
    return {
        name: Speed(p50_ms=statistics.median(alone[name]), texts_per_s=statistics.median(together[name]))
        for name in bundles
    }


def inputs_of(exam: Exam | None, texts: Sequence[dict[str, str]], bundle: Path) -> list[dict[str, str]]:
    """What is asked when speed is measured: the evaluation's texts, or the given ones."""
    if exam is None:
        return list(texts)
    manifest = open_bundle(bundle).manifest
    return [part for row in exam.data.rows for part in engine_inputs(row.text, row.text_pair, manifest)]


def _agreement(exam: Exam, found: Predictions) -> float | None:
    if exam.teacher.logits is not None and found.logits is not None:
        if exam.data.question is Question.SETS:
            return float(((exam.teacher.logits > 0) == (found.logits > 0)).all(axis=1).mean())
        if found.logits.shape[1] == 1:
            return None
        return float((exam.teacher.logits.argmax(axis=1) == found.logits.argmax(axis=1)).mean())
    if exam.teacher.vectors is None or found.vectors is None or exam.teacher.vectors.shape != found.vectors.shape:
        return None
    return float(cosine(exam.teacher.vectors, found.vectors).mean())


def _interval(metric: Metric, gold: Array, after: Array) -> tuple[float, float]:
    """Wilson's for a share; a bootstrap over the rows for anything else."""
    if metric.per_example:
        right = (gold == after).reshape(len(gold), -1).all(axis=1)
        found = stats.binomtest(int(right.sum()), len(right)).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)
    rows = np.arange(len(gold))
    sampled = stats.bootstrap(
        (rows,),
        lambda picked: metric.value(gold[picked], after[picked]),
        n_resamples=500,
        vectorized=False,
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(sampled.low), float(sampled.high)


def _calibration(exam: Exam, found: Predictions, temperature: float | None) -> dict[str, float]:
    if found.logits is None or exam.gold is None or exam.data.question not in (Question.CLASSES, Question.SETS):
        return {}
    values = [
        expected_calibration_error(found.logits, exam.gold, exam.data.question, scale)
        for scale in (1.0, temperature or 1.0)
    ]
    return {"ece_before": values[0], "ece_after": values[1]}


def _forgotten(exam: Exam, before: Array, after: Array) -> tuple[Forgotten, ...]:
    if exam.data.question is not Question.CLASSES or exam.gold is None:
        return ()
    lost = np.flatnonzero((before == exam.gold) & (after != exam.gold))
    return tuple(
        Forgotten(row=exam.data.rows[i].row, gold=exam.labels[int(exam.gold[i])], student=exam.labels[int(after[i])])
        for i in lost[:SHOWN_FORGOTTEN]
    )
