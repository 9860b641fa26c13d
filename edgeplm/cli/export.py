"""edgeplm export"""

from __future__ import annotations

import click

from edgeplm.cli._output import console, note, notes_to_stderr, print_json, steps, table
from edgeplm.cli._reports import figure, show_reports


@click.command()
@click.argument("checkpoint")
@click.argument("out", type=click.Path())
@click.option("--task", help="text-classification, sentence-similarity or feature-extraction; inferred when left out.")
@click.option("--precision", default="fp32", show_default=True, help="Comma-separated: fp32 (always), fp16, int8.")
@click.option("--opset", type=int, default=17, show_default=True, help="ONNX opset of the graphs.")
@click.option("--pairs", type=click.Choice(["optional", "required"]), help="Whether inputs are pairs of texts.")
@click.option("--max-length", type=int, help="Cut texts at fewer tokens than the model takes.")
@click.option("--provider", default="", help="Prove the variants on these too, with commas; most get one of their own.")
@click.option("--keep-going", is_flag=True, help="Leave out variants that fail a gate and write the rest.")
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--trust-remote-code", is_flag=True, help="Allow Python code from the checkpoint to run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    checkpoint: str,
    out: str,
    task: str | None,
    precision: str,
    opset: int,
    pairs: str | None,
    max_length: int | None,
    provider: str,
    keep_going: bool,
    revision: str | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Export CHECKPOINT (a Hugging Face folder or hub id) to the bundle OUT, proved against PyTorch.

    Exit code 1: a variant differs from PyTorch; nothing is written, or with --keep-going the rest is.
    """
    import edgeplm
    from edgeplm_runtime.errors import GateFailed

    notes_to_stderr()
    screen = console(stderr=True)
    export = edgeplm.export
    try:
        with steps() as progress:
            result = export(
                checkpoint,
                out,
                task=task,
                precisions=[name.strip() for name in precision.split(",") if name.strip()],
                opset=opset,
                pairs=pairs,  # type: ignore[arg-type]  # click.Choice has checked it
                max_length=max_length,
                providers=[name.strip() for name in provider.split(",") if name.strip()],
                keep_going=keep_going,
                revision=revision,
                trust_remote_code=trust_remote_code,
                progress=progress,
            )
    except GateFailed as error:
        show_reports(screen, getattr(error, "reports", ()), failures=True)
        raise
    for line in result.notes:
        note(f"{line}.")
    if result.dropped:
        show_reports(screen, result.dropped, failures=True)
        names = ", ".join(report.variant for report in result.dropped)
        click.echo(f"edgeplm: left out because the parity gate said no: {names}.", err=True)
    if as_json:
        print_json(
            {
                "bundle": str(result.path),
                "variants": {report.variant: report.summary for report in result.reports},
                "dropped": [report.variant for report in result.dropped],
                "notes": list(result.notes),
            }
        )
        return
    made = table(f"bundle {result.path}", "variant", "cells", "max abs error", "min cosine", "argmax", "drift")
    for report in result.reports:
        summary = report.summary
        made.add_row(
            report.variant,
            str(summary.cells),
            f"{summary.max_abs_error:.2g}",
            figure(summary.min_cosine),
            figure(summary.argmax_agreement),
            f"{summary.batch_drift:.2g}",
        )
    console().print(made)
