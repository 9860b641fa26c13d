"""The frontier of size, latency and loss: which variants no other one beats in all three, and a picture of it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import msgspec


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A variant as a person weighs it. `loss` is 0 for fp32: the mean distance of its answers from fp32's.

    `milliseconds` is the geometric mean over the measured cells, `quality` the metric on labelled data if any.
    """

    name: str
    size_bytes: int
    milliseconds: float
    loss: float
    quality: float | None = None
    passed: bool = True


# Two figures closer than this are the same: measured times repeat no better.
SAME = 0.03


def frontier(points: Sequence[Point]) -> list[str]:
    """The names of the points that passed their gates and that no other such point beats, in the given order."""
    passed = [point for point in points if point.passed]
    return [point.name for point in passed if not any(_beats(other, point) for other in passed)]


def _beats(one: Point, other: Point) -> bool:
    """Whether `one` is at least as good in all three and clearly better in one of them."""
    pairs = [
        (one.size_bytes, other.size_bytes),
        (one.milliseconds, other.milliseconds),
        (one.loss, other.loss),
    ]
    return all(a <= b * (1 + SAME) for a, b in pairs) and any(a < b * (1 - SAME) for a, b in pairs)


def draw(points: Sequence[Point], kept: Sequence[str], *, title: str) -> str:
    """An SVG: latency across, loss upward (logarithmic), size as the area of a mark; the frontier filled."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: searchable, and the reader's own font
    mpl.rcParams["svg.hashsalt"] = "edgeplm"  # the same picture for the same figures
    figure, axes = pyplot.subplots(figsize=(8, 5))
    floor = min((point.loss for point in points if point.loss > 0), default=1e-6) / 3
    largest = max(point.size_bytes for point in points)
    for point in points:
        shown = max(point.loss, floor)
        colour = "#1f6f8b" if point.name in kept else "#b0b0b0" if point.passed else "#c0504d"
        area = 40 + 400 * point.size_bytes / largest
        axes.scatter(point.milliseconds, shown, s=area, color=colour, alpha=0.75, linewidths=0)
        label = f"{point.name}\n{point.size_bytes / 1e6:.1f} MB" + ("" if point.passed else ", refused")
        axes.annotate(label, (point.milliseconds, shown), xytext=(7, 5), textcoords="offset points", fontsize=8)
    axes.set_yscale("log")
    axes.set_xlabel("milliseconds of a call (geometric mean over the cells)")
    axes.set_ylabel("distance from fp32's answers (log)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.margins(x=0.2, y=0.15)
    axes.grid(True, which="major", alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue()
