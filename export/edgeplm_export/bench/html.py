"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import jinja2
from markupsafe import Markup

from edgeplm_export.bench.plots import SERIES, Plot, figures
from edgeplm_export.bench.words import number, speedup, summary
from edgeplm_runtime.benchmark.records import Report
from edgeplm_runtime.errors import CannotWrite
from edgeplm_runtime.places import place_problem, write_whole


HERE = Path(__file__).parent
TEMPLATE = HERE / "report.html.jinja"


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
    """Write the report's page. Raises CannotWrite."""
    save(render(report), path)


def save(text: str, path: str) -> None:
    """Write it beside its place and rename it, so that no half of it is ever there. Raises CannotWrite."""
    try:
        write_whole(Path(path), text.encode())
    except OSError as error:
        raise CannotWrite(f"the report {path} cannot be written ({error.strerror or error}).") from None


def render(report: Report) -> str:
    """The page."""
    return page(
        TEMPLATE,
        figures(report),
        report=report,
        name=PurePath(report.bundle).name or report.bundle,  # not where it lay
        summary=summary(report),
        speedup=speedup,
    )


def page(template: Path, plots: Sequence[Plot], **values: Any) -> str:
    """A template that extends `page.html.jinja`, filled in and escaped: what a report of any kind looks like."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(template.name).render(
        # The drawings escape their own text; test_html.py holds them to it.
        plots=[(plot.title, Markup(plot.svg), plot.reading) for plot in plots],
        series=SERIES,
        **values,
    )
