"""Measure what passed beside what the bundle has; say, or with auto refuse, what is not worth having."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from edgeplm_export.latency import Times, measure, speedup
from edgeplm_export.pack import write_json, write_manifest
from edgeplm_export.pareto import Point, draw, frontier
from edgeplm_export.quality.agreement import Agreement
from edgeplm_export.quality.gate import QualityReport, judge
from edgeplm_export.quantize import SCHEMES
from edgeplm_export.quantizing.asked import BASE
from edgeplm_export.quantizing.attempt import Attempt, Work
from edgeplm_runtime.bundle.manifest import Variant
from edgeplm_runtime.machine import describe


FRONTIER = "proof/frontier.json"
PICTURE = "proof/frontier.svg"
WORTH = 0.03  # a gain below it is within the noise of a measurement


def weigh(work: Work, attempts: Sequence[Attempt], *, auto: bool) -> None:
    """Fill in times and notes of what passed, set the problem of what auto refuses, and write the frontier."""
    passed = [attempt for attempt in attempts if attempt.problem is None]
    older = work.beside([SCHEMES[attempt.scheme] for attempt in passed])
    variants = (*older, *(work.variants[attempt.variant] for attempt in passed))
    write_manifest(work.folder, msgspec.structs.replace(work.manifest, variants=variants))
    times = measure(work.folder, [variant.name for variant in variants], work.tell)
    points = {variant.name: _old_point(work, variant, times) for variant in older}
    for attempt in passed:
        assert attempt.quality is not None
        attempt.milliseconds = times[attempt.variant]
        attempt.speedup = speedup(times, attempt.variant, BASE)
        points[attempt.variant] = _point(attempt.quality, attempt.variant, attempt.size_bytes, times)
    kept = frontier(list(points.values()))
    for attempt in passed:
        _say(attempt, points, older)
        if auto and attempt.variant not in kept:
            attempt.problem = "another variant is better in size, latency and loss"
        elif auto and _is_no_gain(points[attempt.variant], points[BASE]):
            attempt.problem = f"neither faster (×{attempt.speedup:.2f}) nor smaller than fp32"
    write_json(work.folder / FRONTIER, {"points": list(points.values()), "frontier": kept, "times": times})
    name = " ".join(work.manifest.checkpoint.name.split())
    title = f"{name}: size, latency and loss on {describe().cpu}"
    (work.folder / PICTURE).write_text(draw(list(points.values()), kept, title=title), encoding="utf-8")


def _say(attempt: Attempt, points: dict[str, Point], older: Sequence[Variant]) -> None:
    """Notes on a variant that is slower or larger than what the bundle has."""
    mine, base = points[attempt.variant], points[BASE]
    if _is_no_gain(mine, base):
        attempt.notes.append(f"neither faster (×{attempt.speedup:.2f}) nor smaller than fp32")
    elif attempt.speedup is not None and attempt.speedup < 1:
        attempt.notes.append(f"slower than fp32 here (×{attempt.speedup:.2f}); it is smaller")
    for variant in older:
        other = points[variant.name]
        if other.milliseconds < mine.milliseconds and other.size_bytes < mine.size_bytes:
            attempt.notes.append(f"{variant.name}, which the bundle has, is both faster and smaller")


def _is_no_gain(mine: Point, base: Point) -> bool:
    slower = mine.milliseconds > base.milliseconds / (1 + WORTH)
    return slower and mine.size_bytes > base.size_bytes * (1 - WORTH)


def _old_point(work: Work, variant: Variant, times: Times) -> Point:
    size = sum((work.folder / name).stat().st_size for name in variant.files)
    if variant.name == BASE:
        milliseconds = statistics.geometric_mean(times[BASE].values())
        return Point(name=BASE, size_bytes=size, milliseconds=milliseconds, loss=0.0)
    work.tell(f"{variant.name}, which the bundle has: quality gate")
    report = judge(work.folder, variant.name, work.evaluation, max_drop=work.max_drop)
    return _point(report, variant.name, size, times)


def _point(report: QualityReport, name: str, size_bytes: int, times: Times) -> Point:
    return Point(
        name=name,
        size_bytes=size_bytes,
        milliseconds=statistics.geometric_mean(times[name].values()),
        loss=_loss(report.agreement),
        quality=report.after,
    )


def _loss(agreement: Agreement) -> float:
    """How far the answers are from fp32's: 1 - mean cosine for vectors, KL divergence for labels, shift for numbers."""
    if agreement.cosine_mean is not None:
        return max(0.0, 1.0 - agreement.cosine_mean)
    return max(0.0, agreement.kl if agreement.kl is not None else agreement.shift or 0.0)
