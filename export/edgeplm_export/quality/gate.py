"""The quality gate: may a variant stand in for fp32 on this data? The rule: docs/decisions/0014-quality-gate.md.

It knows nothing of how a variant was made. The parity gate's floors hold beside it, not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edgeplm_export.quality.agreement import Agreement, agree
from edgeplm_export.quality.data import MIN_ROWS, Data
from edgeplm_export.quality.metrics import Array, Metric, answers_of, gold_of, metric_for
from edgeplm_export.quality.predictions import Predictions, Progress, predict
from edgeplm_export.quality.questions import Question
from edgeplm_export.quality.sample import NAME, sample
from edgeplm_export.quality.significance import CONFIDENCE, Difference, compare, holm
from edgeplm_export.quality.slices import Slice, worst_slice
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import BadInput, GateFailed


MAX_DROP = 0.005
# What an unproved pass must still exclude, beyond max_drop: 100 rows without a flip exclude 3 % (decision 0014).
SLACK = 0.025
SIGNIFICANT = 1 - CONFIDENCE


class QualityReport(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one variant, as proof/quality.json keeps it. `problem` is None when the gate lets it pass.

    `verdict`: "proved" (the interval lies within max_drop), "not proved" (it passes; n is too small to prove it),
    "worse", "too few rows", or "no labels" (judged by `agreement` alone). `low` and `high` each hold with
    `confidence`. `p_beyond` is the chance of such a drop, or a smaller one, where max_drop is lost; `tests` how many
    judgements on these rows it was corrected for. The fields from `metric` on are None without labels. `words` says it
    all to a person.
    """

    kind: Literal["labelled", "agreement", "sample"]
    variant: str
    precision: str
    baseline: str
    data: str
    n: int
    verdict: Literal["proved", "not proved", "worse", "too few rows", "undefined", "no labels"]
    words: str
    problem: str | None
    agreement: Agreement
    metric: str | None = None
    before: float | None = None
    after: float | None = None
    drop: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    p: float | None = None
    max_drop: float | None = None
    worst: Slice | None = None
    p_beyond: float | None = None
    tests: int | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """fp32's answers to the data, computed once for all variants. Made by `prepare`."""

    data: Data
    manifest: Manifest
    baseline: str
    predictions: Predictions
    metric: Metric | None
    gold: Array | None


def prepare(
    bundle: Path,
    data: Data | None = None,
    *,
    metric: str | None = None,
    baseline: str = "fp32",
    progress: Progress | None = None,
) -> Evaluation:
    """Check the data and the metric, and run the baseline over it. Without data: over the built-in sample.

    Raises BadInput for a metric that does not fit, or a bundle without the baseline; GateFailed for data of one
    label only, for answers that are not finite, and for a metric that is not defined on the baseline's answers.
    """
    opened = open_bundle(bundle)
    manifest = opened.manifest
    opened.variant(baseline)
    if data is None:
        data = sample(manifest)
    chosen = metric_for(data, metric, manifest.labels or ())
    gold = gold_of(data, manifest.labels or ()) if chosen is not None else None
    found = predict(bundle, baseline, data.rows, progress=progress)
    if chosen is not None and gold is not None and not math.isfinite(chosen.value(gold, answers_of(data, found))):
        raise GateFailed(
            f"{data.path}: {chosen.name} is not defined for the answers of {baseline}; it gives the same one to every "
            "row. Look whether these texts and labels belong to this model, or choose another --metric."
        )
    return Evaluation(data=data, manifest=manifest, baseline=baseline, predictions=found, metric=chosen, gold=gold)


def judge(
    bundle: Path,
    variant: str,
    evaluation: Evaluation,
    *,
    max_drop: float = MAX_DROP,
    progress: Progress | None = None,
) -> QualityReport:
    """Run a variant of the bundle over the evaluation's data, and judge it. A report whose `problem` is None passes.

    Raises BadInput for a max_drop that is none.
    """
    if not 0 <= max_drop <= 1:
        raise BadInput(f"max_drop is {max_drop!r}; give a share from 0 to 1, such as {MAX_DROP}.")
    precision = open_bundle(bundle).variant(variant).precision
    try:
        found = predict(bundle, variant, evaluation.data.rows, progress=progress)
    except GateFailed as error:
        return _unusable(evaluation, variant, precision, str(error))
    return judge_predictions(evaluation, found, variant=variant, precision=precision, max_drop=max_drop)


def judge_predictions(
    evaluation: Evaluation, found: Predictions, *, variant: str, precision: str, max_drop: float = MAX_DROP
) -> QualityReport:
    """Judge answers that were computed already. Pure."""
    data, base = evaluation.data, evaluation.predictions
    agreement = agree(data, evaluation.manifest, precision, base, found)
    if evaluation.metric is None or evaluation.gold is None:
        return _unlabelled(evaluation, agreement, variant, precision)
    metric, gold = evaluation.metric, evaluation.gold
    before, after = answers_of(data, base), answers_of(data, found)
    difference = compare(metric, gold, before, after, max_drop=max_drop)
    verdict, reason = decide(difference, len(gold), max_drop)
    labels = evaluation.manifest.labels or ()
    worst = worst_slice(metric, gold, before, after, lengths=base.lengths, labels=labels)
    words = _words(evaluation.baseline, metric, difference, len(gold), reason, worst)
    words += _doubt(data.question, evaluation.baseline, metric, gold, before, labels)
    return QualityReport(
        kind="labelled",
        variant=variant,
        precision=precision,
        baseline=evaluation.baseline,
        data=Path(data.path).name,
        n=len(gold),
        verdict=verdict,
        words=words,
        problem=None if verdict in ("proved", "not proved") else words,
        agreement=agreement,
        metric=metric.name,
        before=_number(difference.before),
        after=_number(difference.after),
        drop=_number(difference.drop),
        low=_number(difference.low),
        high=_number(difference.high),
        confidence=CONFIDENCE,
        p=_number(difference.p),
        max_drop=max_drop,
        worst=worst,
        p_beyond=_number(difference.beyond),
        tests=1,
    )


def together(reports: Sequence[QualityReport], tests: int) -> list[QualityReport]:
    """The reports of variants that were judged on the same rows, with what is proved of them all at once.

    Of twenty variants that lose too much, one is "proved" by chance at 95 %. So "proved" stays only where it holds by
    Holm's correction for all `tests`, tries of a repair among them. "worse" is not corrected: it lets nothing pass.
    """
    labelled = [report for report in reports if report.p_beyond is not None]
    if tests < 2 or not labelled:
        return list(reports)
    chances = holm([float(report.p_beyond or 0.0) for report in labelled], tests)
    corrected = {id(report): float(chance) for report, chance in zip(labelled, chances, strict=True)}
    return [
        _corrected(report, corrected[id(report)], tests) if id(report) in corrected else report for report in reports
    ]


def _corrected(report: QualityReport, chance: float, tests: int) -> QualityReport:
    found = msgspec.structs.replace(report, tests=tests)
    if report.verdict != "proved":
        return found
    said = f"{tests} judgements on these rows (Holm's correction: p = {chance:.3f})"
    if chance <= SIGNIFICANT:
        return msgspec.structs.replace(found, words=f"{report.words} It holds among {said}.")
    words = f"{report.words} So it is alone, but not among {said}: not proved; more rows, or fewer schemes, could."
    return msgspec.structs.replace(found, verdict="not proved", words=words)


def decide(
    difference: Difference, n: int, max_drop: float
) -> tuple[Literal["proved", "not proved", "worse", "too few rows", "undefined"], str]:
    """The verdict, and the reason in words. The rule, in this order:

    1. not defined: the metric, or its interval, is NaN.
    2. worse: the drop exceeds max_drop and is no chance (p ≤ .05), or even the lower bound exceeds max_drop.
    3. too few rows: fewer than 100, or the upper bound exceeds max_drop + 0.025.
    4. proved: the upper bound is within max_drop.
    5. not proved: it passes, and the words say what the data cannot exclude.
    """
    if not all(map(math.isfinite, (difference.drop, difference.low, difference.high))):
        return "undefined", "the metric is not defined for these answers (NaN)"
    limit = f"max_drop {max_drop:g}"
    if difference.low > max_drop or (difference.drop > max_drop and difference.p <= SIGNIFICANT):
        return "worse", f"the drop exceeds {limit}, and is no chance"
    if n < MIN_ROWS:
        return "too few rows", f"too few rows to judge: give {MIN_ROWS} at least"
    if difference.high > max_drop + SLACK:
        return "too few rows", (
            f"too few rows to judge: a drop of {difference.high:.4f} cannot be excluded, {max_drop + SLACK:g} must be; "
            f"give about {_rows_needed(difference, n, max_drop + SLACK)}"
        )
    if difference.high <= max_drop:
        return "proved", f"the drop is proved to be within {limit}"
    needed = _rows_needed(difference, n, max_drop)
    return "not proved", (
        f"not shown to be worse, and not proved to be within {limit}: a drop of {difference.high:.4f} cannot be "
        f"excluded; about {needed} rows could prove it"
    )


def _rows_needed(difference: Difference, n: int, bound: float) -> int:
    """Rows at which an interval as wide as this one, around no drop, would lie within `bound`; two digits.

    Its width falls with the square root of the rows.
    """
    half = max(difference.high - difference.drop, 1e-9)
    exact = n * (half / max(bound, 1e-4)) ** 2
    unit = int(10 ** max(0, int(math.log10(max(exact, 1))) - 1))
    return max(MIN_ROWS, math.ceil(exact / unit) * unit)


def _words(baseline: str, metric: Metric, found: Difference, n: int, reason: str, worst: Slice | None) -> str:
    sign = "-" if metric.error else ""
    said = (
        f"{metric.name} {found.before:.4f} ({baseline}) → {found.after:.4f} on {n} rows: drop {found.drop:+.4f}"
        f"{' of the variance' if sign else ''}, between {found.low:+.4f} and {found.high:+.4f} "
        f"(each bound at {CONFIDENCE:.0%}; p = {found.p:.3f}); {reason}."
    )
    if worst is not None:
        said += (
            f" Worst slice: {worst.name}, {worst.metric} {worst.before:.4f} → {worst.after:.4f} on {worst.n} rows "
            "(shown, not judged)."
        )
    return said


def _doubt(question: Question, baseline: str, metric: Metric, gold: Array, before: Array, labels: Sequence[str]) -> str:
    """A warning where the baseline itself knows nothing of these labels: a drop from chance means little."""
    if question is Question.CLASSES:
        counts = np.bincount(gold.astype(np.int64))
        right, always = float((gold == before).mean()), float(counts.max() / len(gold))
        if right <= always:
            return (
                f" Careful: {baseline} is right in {right:.1%} of the rows, and always answering "
                f"{labels[int(counts.argmax())]} would be in {always:.1%}. Do these labels belong to this model?"
            )
    elif question in (Question.VALUES, Question.SIMILARITY) and not metric.error and metric.value(gold, before) <= 0:
        return f" Careful: the answers of {baseline} do not follow the scores. Do they belong to this model?"
    return ""


def _unlabelled(evaluation: Evaluation, found: Agreement, variant: str, precision: str) -> QualityReport:
    data = evaluation.data
    kind: Literal["agreement", "sample"] = "sample" if data.path == NAME else "agreement"
    few = kind == "agreement" and found.n < MIN_ROWS
    problem = found.problem
    if problem is None and few:
        problem = f"too few rows to judge: {found.n}; give {MIN_ROWS} at least, or none to use the built-in sample"
    words = f"{_why_no_labels(evaluation)}: {_figures(found)} against {evaluation.baseline}"
    words += f"; {problem}." if problem else "; within the floors. This says nothing of right or wrong answers."
    return QualityReport(
        kind=kind,
        variant=variant,
        precision=precision,
        baseline=evaluation.baseline,
        data=Path(data.path).name,
        n=found.n,
        verdict="too few rows" if few and found.problem is None else "worse" if problem else "no labels",
        words=words,
        problem=words if problem else None,
        agreement=found,
    )


def _why_no_labels(evaluation: Evaluation) -> str:
    data, name = evaluation.data, Path(evaluation.data.path).name
    if data.path == NAME:
        return f"no data was given, so {len(data.rows)} built-in texts in twelve languages were compared"
    if data.columns.label is not None:
        return f"{name}: {evaluation.manifest.task} has no metric for such rows, so the labels are not used"
    return f"{name} has no labels (columns: {', '.join(data.columns.known)}), so the answers were compared"


def _figures(found: Agreement) -> str:
    parts: Sequence[str | None] = (
        None if found.flips is None else f"{found.flips} of {found.n} answers turned",
        None if found.clear is None else f"{found.clear_flips} of the {found.clear} clear ones",
        None if found.kl is None else f"KL {found.kl:.5f} nats",
        None
        if found.cosine_mean is None
        else f"cosine {found.cosine_mean:.5f} on average, {found.cosine_min:.5f} at least",
        None if found.shift is None else f"answers moved by {found.shift:.4f} of their spread",
    )
    return ", ".join(part for part in parts if part is not None)


def _unusable(evaluation: Evaluation, variant: str, precision: str, problem: str) -> QualityReport:
    data = evaluation.data
    nothing = Agreement(n=len(data.rows), problem=problem)
    labelled = evaluation.metric is not None
    return QualityReport(
        kind="labelled" if labelled else "sample" if data.path == NAME else "agreement",
        variant=variant,
        precision=precision,
        baseline=evaluation.baseline,
        data=Path(data.path).name,
        n=len(data.rows),
        verdict="undefined",
        words=problem,
        problem=problem,
        agreement=nothing,
        metric=evaluation.metric.name if evaluation.metric else None,
    )


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
