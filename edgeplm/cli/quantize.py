"""edgeplm quantize"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeplm.cli._output import console, named_values, note, notes_to_stderr, print_json, steps, table
from edgeplm.cli._reports import figure, show_reports


if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeplm_export.quantizing import Attempt


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--scheme", default="auto", show_default=True, help="One, several with commas, or auto: the best of all.")
@click.option(
    "--calibration", type=click.Path(), help="Texts (csv, tsv, jsonl, json, txt) for the ranges of activations."
)
@click.option("--eval", "evaluation", type=click.Path(), help="Labelled texts that judge; without labels: agreement.")
@click.option("--columns", help="Columns of both files, like text=review,label=stars.")
@click.option("--metric", help="accuracy, f1, spearman, …; default: by the task.")
@click.option("--max-drop", type=float, default=0.005, show_default=True, help="What the metric may lose.")
@click.option("--high", multiple=True, help="A site that stays in float32; may be repeated.")
@click.option("--set", "settings", multiple=True, help="A setting of the scheme, like range=percentile or block=64.")
@click.option("--no-repair", is_flag=True, help="Refuse a scheme that fails, without putting sites back to float32.")
@click.option("--replace", is_flag=True, help="Make a variant anew that the bundle already has.")
@click.option("--provider", default="", help="Where the variants run, several with commas; default: the scheme's own.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    bundle: str,
    scheme: str,
    calibration: str | None,
    evaluation: str | None,
    columns: str | None,
    metric: str | None,
    max_drop: float,
    high: tuple[str, ...],
    settings: tuple[str, ...],
    no_repair: bool,
    replace: bool,
    provider: str,
    as_json: bool,
) -> None:
    """Add variants of other precisions to BUNDLE: proved against fp32, judged on data, measured on this machine.

    Exit code 1: nothing passed, and the bundle is as it was.
    """
    import edgeplm

    notes_to_stderr()
    quantize = edgeplm.quantize
    named = named_values("--columns", columns.split(",") if columns else [])
    chosen = {name: _number(value) for name, value in named_values("--set", settings).items()}
    try:
        with steps() as progress:
            result = quantize(
                bundle,
                scheme=scheme,
                calibration=calibration,
                evaluation=evaluation,
                columns=named or None,
                metric=metric,
                max_drop=max_drop,
                high=high,
                settings=chosen,
                repair=not no_repair,
                replace=replace,
                providers=[name.strip() for name in provider.split(",") if name.strip()],
                progress=progress,
            )
    except edgeplm.NothingWritten as error:
        _show_refused(error.attempts)
        raise
    for line in result.notes:
        note(f"{line}.")
    _show_refused(result.refused)
    if as_json:
        print_json({"bundle": str(result.path), "written": result.written, "refused": result.refused})
        return
    _show_written(str(result.path), result.written)


def _number(value: str) -> str | int:
    return int(value) if value.isascii() and value.isdigit() else value


def _show_refused(attempts: Sequence[Attempt]) -> None:
    screen = console(stderr=True)
    for attempt in attempts:
        if attempt.parity is not None and attempt.parity.failures:
            show_reports(screen, [attempt.parity], failures=True)
        click.echo(f"edgeplm: not written: {attempt.scheme}: {attempt.problem}", err=True)


def _show_written(bundle: str, attempts: Sequence[Attempt]) -> None:
    cells = list(attempts[0].milliseconds)
    made = table(
        f"bundle {bundle}", "variant", "MB", "× fp32", *(f"{cell} ms" for cell in cells), "cosine", "drift", "high"
    )
    for attempt in attempts:
        assert attempt.parity is not None
        summary = attempt.parity.summary
        made.add_row(
            attempt.variant,
            f"{attempt.size_bytes / 1e6:.1f}",
            f"×{attempt.speedup:.2f}",
            *(f"{attempt.milliseconds[cell]:.2f}" for cell in cells),
            figure(summary.mean_cosine),
            f"{summary.batch_drift:.2g}",
            str(len(attempt.high)),
        )
    screen: Any = console()
    screen.print(made)
    for attempt in attempts:
        assert attempt.quality is not None
        screen.print(f"{attempt.variant}: {attempt.quality.words}", markup=False)
        for line in attempt.notes:
            screen.print(f"  {line}", markup=False)
