"""The parity gate's reports as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from edgeplm.cli._output import table


if TYPE_CHECKING:
    from edgeplm_export.parity.gate import VariantReport

SHOWN = 12


def show_reports(screen: Console, reports: Iterable[VariantReport], *, failures: bool) -> None:
    """A table for each variant; with `failures`, only the cells that the tolerance does not allow."""
    for report in reports:
        cells = report.failures if failures else list(report.cells)
        made = table(f"{report.name}: parity", "cell", "max abs error", "cosine", "worst text", "problem")
        for cell in cells[:SHOWN]:
            made.add_row(
                cell.name,
                f"{cell.max_abs_error:.3g}",
                figure(cell.cosine),
                escape(ascii_controls(cell.worst)),
                escape(cell.problem or ""),
            )
        screen.print(made)
        if len(cells) > SHOWN:
            screen.print(f"… and {len(cells) - SHOWN} more cells", markup=False)


def ascii_controls(text: str) -> str:
    """The text with its control characters written out, so that a terminal does not obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def figure(value: float | None) -> str:
    """A cosine or a share with six digits; a dash where it means nothing."""
    return "–" if value is None else f"{value:.6f}"
