"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from pathlib import Path, PurePath

import jinja2
from markupsafe import Markup

from edgeplm_export.bench.plots import SERIES, figures
from edgeplm_export.bench.words import number, speedup, summary
from edgeplm_runtime.benchmark.records import Report
from edgeplm_runtime.errors import CannotWrite
from edgeplm_runtime.places import place_problem, write_whole


TEMPLATE = Path(__file__).with_name("report.html.jinja")


def check_place(path: str) -> None:
    """Raise CannotWrite, before anything is measured, where the report could not be written."""
    place = Path(path)
    problem = place_problem(place) if place.parent.exists() else "No such file or directory"
    if place.is_dir():
        problem = "it is a folder"
    if problem:
        raise CannotWrite(
            f"the report {path} cannot be written ({problem}); give the name of a file, in a folder that exists and "
            "that you may write to."
        )


def write(report: Report, path: str) -> None:
    """Write it beside its place and rename it, so that no half of it is ever there. Raises CannotWrite."""
    try:
        write_whole(Path(path), render(report).encode())
    except OSError as error:
        raise CannotWrite(f"the report {path} cannot be written ({error.strerror or error}).") from None


def render(report: Report) -> str:
    """The page."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        name=PurePath(report.bundle).name or report.bundle,  # not where it lay
        summary=summary(report),
        # The drawings escape their own text; test_html.py holds them to it.
        plots=[(plot.title, Markup(plot.svg), plot.reading) for plot in figures(report)],
        speedup=speedup,
        series=SERIES,
    )
