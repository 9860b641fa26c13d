"""The plots of a report, as SVG to put inline: small, one set of axes each, coloured by the page's CSS variables.

matplotlib draws with stand-in colours, which then become var(--…), so that one drawing serves light and dark; text
stays text, so that it is sharp, small in bytes, and in the page's own letters.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from edgeplm_runtime.benchmark.records import Candidate, Cell, Report


WIDTH, HEIGHT = 4.6, 3.2  # inches: on a phone about as wide as the screen, so that text keeps its size
SERIES = 12  # colours that the page has
STAND_INS = {"ink": "#010201", "faint": "#010202", "line": "#010203", "paper": "#010204"}
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a bundle's name may hold dollars
    "text.color": STAND_INS["ink"],
    "axes.edgecolor": STAND_INS["line"],
    "axes.labelcolor": STAND_INS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": STAND_INS["line"],
    "grid.linewidth": 0.5,
    "xtick.color": STAND_INS["faint"],
    "ytick.color": STAND_INS["faint"],
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawing: what it shows in a few words, SVG, and a sentence on how to read it."""

    title: str
    svg: str
    reading: str


def colour(index: int) -> str:
    """The stand-in of a series' colour."""
    return f"#0103{index % SERIES:02x}"


def figures(report: Report) -> list[Plot]:
    """All plots that the report has figures for."""
    drawn = [*_distributions(report), _under_load(report), _pareto(report), _roofline(report)]
    return [plot for plot in drawn if plot is not None]


def _distributions(report: Report) -> list[Plot]:
    """A plot for each cell: the share of calls that were answered within a time."""
    plots = []
    names = dict.fromkeys((cell.batch, cell.length) for one in report.candidates for cell in one.cells)
    for batch, length in names:

        def draw(axes: Axes, batch: int = batch, length: int = length) -> None:
            for index, _, cell in _of_cell(report, batch, length):
                samples = np.sort([ms for turn in cell.turns_ms for ms in turn])
                shares = np.arange(1, len(samples) + 1) / len(samples) * 100
                axes.step(samples, shares, where="post", color=colour(index))
            axes.set_xscale("log")
            axes.set_xlabel("milliseconds")
            axes.set_ylabel("% of calls answered within")
            axes.set_ylim(0, 101)
            plain_log(axes, "x")

        title = f"Latency of {batch} × {length} tokens"
        reading = "The further to the left, the faster; the steeper, the steadier."
        plots.append(Plot(title=title, svg=svg_of(draw, title), reading=reading))
    return plots


def _under_load(report: Report) -> Plot | None:
    load = report.load
    if load is None or not load.points:
        return None

    index = next((i for i, one in enumerate(report.candidates) if one.name.endswith(load.candidate)), 0)

    def draw(axes: Axes) -> None:
        rates = [p.offered_per_s for p in load.points]
        for name, dashes, times in (
            ("p50", "-", [p.p50_ms for p in load.points]),
            ("p99", "--", [p.p99_ms for p in load.points]),
            ("p99.9", ":", [p.p999_ms for p in load.points]),
        ):
            axes.plot(rates, times, dashes, color=colour(index), label=name, zorder=2)
            for p, rate, ms in zip(load.points, rates, times, strict=True):
                face = STAND_INS["paper"] if p.saturated else colour(index)
                axes.plot(rate, ms, "o", color=colour(index), markerfacecolor=face, markersize=5, zorder=3)
        axes.axvline(load.capacity_per_s, color=STAND_INS["faint"], linestyle="-.", linewidth=1)
        axes.annotate(
            "capacity",
            (load.capacity_per_s, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="bottom",
            color=STAND_INS["faint"],
        )
        axes.set_xlim(left=0)
        axes.set_yscale("log")
        axes.set_xlabel("arrivals a second")
        axes.set_ylabel("ms from the intended arrival")
        axes.legend(frameon=False, loc="upper left", handlelength=2.5)
        plain_log(axes, "y")

    title = f"Under load, {load.callers} callers"
    reading = "Hollow points are saturated: answers did not keep up with arrivals."
    return Plot(title=title, svg=svg_of(draw, title), reading=reading)


def _pareto(report: Report) -> Plot | None:
    """Latency against distance to the first candidate, size as area; only with two candidates that have both."""
    chosen = [
        (index, one, 1 - one.closeness.mean_cosine if one.closeness else 0.0)
        for index, one in enumerate(report.candidates)
        if one.cells and one.reads == "ids"
    ]
    by_quality = [row for row in chosen if row[1].quality is not None]
    if len(by_quality) < 2 and len(chosen) < 2:
        return None
    use_quality = len(by_quality) >= 2

    def draw(axes: Axes) -> None:
        rows = by_quality if use_quality else chosen
        floor = 1e-7  # rounding: what is nearer stands there
        largest = max(one.size_bytes or 1 for _, one, _ in rows)
        for index, one, far in rows:
            x = _typical_ms(one)
            y = one.quality if use_quality and one.quality is not None else max(far, floor)
            area = 30 + 250 * (one.size_bytes or 0) / largest
            axes.scatter([x], [y], s=area, color=colour(index), alpha=0.85, linewidths=0)
        axes.set_xscale("log")
        axes.set_xlabel("ms a call, geometric mean over the cells")
        if use_quality:
            axes.set_ylabel("quality, the bundle's own metric")
        else:
            axes.set_yscale("log")
            axes.invert_yaxis()
            axes.set_ylabel("1 − cosine to the first")
            axes.set_ylim(1, floor / 3)
            plain_log(axes, "y")
        axes.margins(x=0.2)
        plain_log(axes, "x")

    title = "Speed, fidelity and size"
    reading = "Up and to the left is better; a larger circle is a larger file."
    return Plot(title=title, svg=svg_of(draw, title), reading=reading)


def _roofline(report: Report) -> Plot | None:
    work, peaks = report.work, report.peaks
    if work is None or peaks is None or not any(one.cells for one in report.candidates):
        return None

    def draw(axes: Axes) -> None:
        bandwidth = max(peaks.read_gb_s.values())
        points = [
            (index, operations / (work.weight_bytes[one.name] / 1e9), operations / (cell.p50.ms / 1e3))
            for index, one in enumerate(report.candidates)
            if one.ours and one.name in work.weight_bytes
            for cell in one.cells
            if (operations := work.giga_operations.get(f"{cell.batch}x{cell.length}"))
        ]
        low = min([x for _, x, _ in points], default=1.0) / 3
        high = max([x for _, x, _ in points], default=100.0) * 3
        high = max(high, 3 * peaks.int8_gop_s / bandwidth)
        across = np.geomspace(low, high, 60)
        for name, roof in (("int8", peaks.int8_gop_s), ("float32", peaks.f32_gflop_s)):
            axes.plot(across, np.minimum(roof, across * bandwidth), color=STAND_INS["faint"], linewidth=1.2)
            axes.annotate(
                f"{name}: {_short(roof)}",
                (high, roof),
                textcoords="offset points",
                xytext=(0, 4),
                ha="right",
                color=STAND_INS["faint"],
            )
        for index, x, y in points:
            axes.plot(x, y, "o", color=colour(index), markersize=6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("operations per byte of weights")
        axes.set_ylabel("10⁹ operations a second")
        plain_log(axes, "x")
        plain_log(axes, "y")

    title = "Roofline of this machine"
    reading = (
        "Lines are the most that this machine reached in bare products and in reading memory; a point far below its "
        "line spends its time elsewhere."
    )
    return Plot(title=title, svg=svg_of(draw, title), reading=reading)


def _of_cell(report: Report, batch: int, length: int) -> list[tuple[int, Candidate, Cell]]:
    return [
        (index, one, cell)
        for index, one in enumerate(report.candidates)
        for cell in one.cells
        if (cell.batch, cell.length) == (batch, length)
    ]


def _typical_ms(one: Candidate) -> float:
    return math.exp(sum(math.log(cell.p50.ms) for cell in one.cells) / len(one.cells))


def plain_log(axes: Axes, which: str) -> None:
    """1, 2, 5, 10 … as numbers and not as powers, where they do not crowd."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    decades = abs(math.log10(max(low, high) / min(low, high))) if min(low, high) > 0 else 1
    # Fewer numbers the more decades there are.
    crowded = [(0.8, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)), (2.2, (1.0, 2.0, 5.0)), (math.inf, (1.0,))]
    steps = next(subs for most, subs in crowded if decades < most)
    axis.set_major_locator(LogLocator(base=10, subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    """Like 0.5, 12, 3.2k, 1e-05."""
    if value and abs(value) < 1e-3:
        return f"{value:.0e}"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def svg_of(draw: Callable[[Axes], None], title: str) -> str:
    """The SVG element of one drawing; ids carry the title's words, since several stand in one page."""
    salt = re.sub(r"\W+", "-", title.lower()).strip("-")
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{salt}-", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" ([^>]*?)height="[^"]*"|<svg ', _opening, svg, count=1)
    for name, stand_in in STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    for index in range(SERIES):
        svg = svg.replace(colour(index), f"var(--series-{index})")
    # Quoted families of the drawing give way to those of the page.
    return re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", svg)


def _opening(match: re.Match[str]) -> str:
    return "<svg " if match.group(1) is None else f"<svg {match.group(1)}{match.group(2)}"
