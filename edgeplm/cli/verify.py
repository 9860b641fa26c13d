"""edgeplm verify"""

from __future__ import annotations

import click

from edgeplm.cli._output import console, notes_to_stderr, print_json, steps


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--reference", metavar="CHECKPOINT", help="Prove the bundle again, here, against this checkpoint.")
@click.option("--trust-remote-code", is_flag=True, help="Allow Python code from the checkpoint to run.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(bundle: str, reference: str | None, trust_remote_code: bool, as_json: bool) -> None:
    """Check every file of BUNDLE against its manifest, and scan each graph for what may not be loaded.

    Exit code 1 when a file is missing, changed or extra, or when a variant does not answer like the checkpoint.
    """
    from edgeplm.cli._reports import show_reports
    from edgeplm_runtime.bundle.reader import open_bundle
    from edgeplm_runtime.bundle.verify import find_problems
    from edgeplm_runtime.errors import BadBundle, GateFailed

    notes_to_stderr()
    try:
        opened = open_bundle(bundle)
    except BadBundle as error:
        # For `run` a damaged bundle is bad input; here it is the answer to the question.
        raise GateFailed(str(error)) from None
    problems = find_problems(opened)
    reports = []
    if reference is not None and not problems:
        from edgeplm.cli._extras import build_side

        with steps() as progress:
            reports = list(
                build_side().prove_again(bundle, reference, trust_remote_code=trust_remote_code, progress=progress)
            )
    failed = [report for report in reports if report.failures]
    if as_json:
        print_json(
            {
                "bundle": bundle,
                "files": len(opened.manifest.files),
                "problems": problems,
                "parity": {report.variant: report.summary for report in reports},
                "failed": [report.variant for report in failed],
            }
        )
    else:
        show_reports(console(stderr=True), failed, failures=True)
        for problem in problems:
            click.echo(problem)
    if problems:
        raise GateFailed(f"{bundle} is not as its manifest says: {len(problems)} problem(s). Copy or export it again.")
    if failed:
        names = ", ".join(report.variant for report in failed)
        raise GateFailed(f"{bundle}: {names} does not answer like {reference} on this machine.")
    if not as_json:
        proved = f", and every variant answers like {reference}" if reference else ""
        click.echo(f"{bundle}: all {len(opened.manifest.files)} files are as the manifest says{proved}.")
