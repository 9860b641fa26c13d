"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePath

import jinja2
from markupsafe import Markup

from edgeplm_export.bench.plots import SERIES, figures
from edgeplm_export.bench.words import number, speedup, summary
from edgeplm_runtime.benchmark.records import Report
from edgeplm_runtime.errors import CannotWrite


TEMPLATE = Path(__file__).with_name("report.html.jinja")


def check_place(path: str) -> None:
    """Raise CannotWrite, before anything is measured, where the report could not be written."""
    place = Path(path)
    if place.is_dir():
        raise CannotWrite(f"the report {path} is a folder; give the name of a file.")
    try:
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".edgeplm-"):
            pass
    except OSError as error:
        raise CannotWrite(
            f"the report {path} cannot be written ({error.strerror or error}); give a place in a folder that exists "
            "and that you may write to."
        ) from None


def write(report: Report, path: str) -> None:
    """Write it beside its place and rename it, so that no half of it is ever there. Raises CannotWrite."""
    place = Path(path)
    text = render(report)
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=place.parent, prefix=".edgeplm-", suffix=".html", delete=False
        ) as file:
            part = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~_umask())  # a temporary file is its owner's alone
                part.replace(place)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
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


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found
