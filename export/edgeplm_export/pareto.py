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


def draw(
    points: Sequence[Point],
    kept: Sequence[str],
    *,
    title: str,
    across: str = "milliseconds of a call (geometric mean over the cells)",
    upward: str = "distance from fp32's answers (log)",
    logarithmic: bool = False,
) -> str:
    """An SVG: latency across, loss upward (logarithmic), size as the area of a mark; the frontier filled.

    `across` and `upward` name the axes; `logarithmic` makes the latency's one so, for points far apart.
    """
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: searchable, and the reader's own font
    mpl.rcParams["svg.hashsalt"] = "edgeplm"  # the same picture for the same figures
    figure, axes = pyplot.subplots(figsize=(10, 5))
    floor = min((point.loss for point in points if point.loss > 0), default=1e-6) / 3
    largest = max(point.size_bytes for point in points)
    lines = []
    for number, point in enumerate(sorted(points, key=lambda point: point.loss), 1):
        shown = max(point.loss, floor)
        colour = "#1f6f8b" if point.name in kept else "#b0b0b0" if point.passed else "#c0504d"
        area = 40 + 400 * point.size_bytes / largest
        axes.scatter(point.milliseconds, shown, s=area, color=colour, alpha=0.75, linewidths=0)
        # Names would cover each other where variants are alike: numbers at the marks, names in a list.
        axes.annotate(str(number), (point.milliseconds, shown), ha="center", va="center", fontsize=8)
        star = " *" if point.name in kept else "" if point.passed else " (refused)"
        lines.append(f"{number}  {point.name}, {point.size_bytes / 1e6:.1f} MB, {point.milliseconds:.2f} ms{star}")
    axes.text(1.02, 1.0, "\n".join([*lines, "", "* on the frontier"]), transform=axes.transAxes, va="top", fontsize=8)
    axes.set_yscale("log")
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(across)
    axes.set_ylabel(upward)
    axes.set_title(title, loc="left", fontsize=11)
    axes.margins(x=0.1, y=0.15)
    axes.grid(True, which="major", alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue()
