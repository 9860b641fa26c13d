"""The ladder as one HTML file that needs nothing else, in the looks of a benchmark's report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from matplotlib.axes import Axes

from edgeplm_export.bench.html import page, save
from edgeplm_export.bench.plots import Plot, colour, plain_log, svg_of
from edgeplm_export.bench.words import number
from edgeplm_export.distilling.standing import SHOWN_FORGOTTEN, Standing
from edgeplm_export.distilling.step import DistilResult
from edgeplm_runtime.machine import describe


TEMPLATE = Path(__file__).with_name("ladder.html.jinja")
SHOWN_SLICES = 3


def write(result: DistilResult, path: str) -> None:
    """Write the page, whole or not at all. Raises CannotWrite."""
    save(render(result), path)


def render(result: DistilResult) -> str:
    """The page."""
    students = list(dict.fromkeys(one.student for one in result.standings))
    return page(
        TEMPLATE,
        _plots(result, students),
        result=result,
        name=result.teacher,
        metric=result.standings[0].metric,
        summary=summary(result),
        students=students,
        machine=describe(),
        version=metadata.version("edgeplm"),
        shown=SHOWN_FORGOTTEN,
    )


def summary(result: DistilResult) -> list[str]:
    """What was found, in sentences: which student is taken and why, what each keeps and gains, what is lost."""
    teacher, *students = result.standings
    examined = "" if teacher.quality is None else f", {teacher.metric} {teacher.quality:.3f} on {teacher.n} texts"
    sentences = [
        f"Taken: {result.why}.",
        f"The teacher takes {number(teacher.speed.p50_ms)} ms for one sentence and answers "
        f"{number(teacher.speed.texts_per_s)} texts a second of a list{examined}.",
    ]
    sentences += [_of(one) for one in students if one.name in result.frontier]
    beaten = [one.name for one in students if one.name not in result.frontier]
    if beaten:
        sentences.append(
            f"Another one is at least as good, as fast and as small as {', '.join(beaten)}: not on the frontier."
        )
    for part in [part for part in result.chosen.slices if part.drop > 0][:SHOWN_SLICES]:
        sentences.append(
            f"{result.chosen.name} loses most on {part.name}: {part.metric} {part.before:.3f} → {part.after:.3f} "
            f"({part.n} rows)."
        )
    return sentences


def _of(one: Standing) -> str:
    kept = "" if one.retention is None else f"keeps {one.retention:.1%} of the teacher's {one.metric}, "
    return (
        f"{one.name} {kept}answers one sentence {number(one.faster_alone)} and lists {number(one.faster)} times as "
        f"fast, in {number(one.size_bytes / 1e6)} MB."
    )


def _plots(result: DistilResult, students: Sequence[str]) -> list[Plot]:
    """Quality against each of the two speeds and the size; nothing where nothing was examined."""
    if result.standings[0].quality is None:
        return []
    metric = result.standings[0].metric or "quality"
    drawn = []
    for title, across, values, reading in (
        (
            "One sentence",
            "milliseconds (p50)",
            [one.speed.p50_ms for one in result.standings],
            "Up and to the left is better; a larger circle is a larger file. Hollow: a small variant of the student.",
        ),
        (
            "Lists of texts",
            "texts a second",
            [one.speed.texts_per_s for one in result.standings],
            "Up and to the right is better. The bars are 95 % intervals.",
        ),
        (
            "Size",
            "megabytes",
            [one.size_bytes / 1e6 for one in result.standings],
            "Up and to the left is better.",
        ),
    ):

        def draw(axes: Axes, across: str = across, values: Sequence[float] = values) -> None:
            _points(axes, result.standings, students, values)
            axes.set_xscale("log")
            axes.set_xlabel(across)
            axes.set_ylabel(metric)
            axes.margins(x=0.15, y=0.1)
            plain_log(axes, "x")

        drawn.append(Plot(title=title, svg=svg_of(draw, title), reading=reading))
    return drawn


def _points(axes: Axes, standings: Sequence[Standing], students: Sequence[str], values: Sequence[float]) -> None:
    largest = max(one.size_bytes for one in standings)
    for one, x in zip(standings, values, strict=True):
        if one.quality is None:
            continue
        shade = colour(students.index(one.student))
        if one.low is not None and one.high is not None:
            axes.plot([x, x], [one.low, one.high], color=shade, linewidth=0.8, alpha=0.6)
        axes.scatter(
            [x],
            [one.quality],
            s=30 + 250 * one.size_bytes / largest,
            facecolors=shade if one.variant == "fp32" else "none",
            edgecolors=shade,
            alpha=0.85,
            linewidths=1.4,
        )
