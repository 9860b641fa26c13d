"""edgeplm tune"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeplm.cli._output import console, note, notes_to_stderr, print_json, steps, table


if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeplm_runtime.tuning import Tuned

SHOWN = 10  # rows of the table; --json has all
INTERRUPTED = 130


class Milliseconds(click.ParamType[float]):
    """5, 5ms, 0.005s: milliseconds as a float."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of milliseconds, or a usage error."""
        text = str(value).strip().lower()
        number, factor = (text[:-2], 1.0) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
        if text.endswith("s") and not text.endswith("ms"):
            factor = 1e3
        try:
            return float(number) * factor
        except ValueError:
            self.fail(f"{value!r} is no time; write it like 5ms or 0.2s.", param, ctx)


@click.command()
@click.argument("bundle", type=click.Path())
@click.option(
    "--latency-budget", type=Milliseconds(), help="Take the largest batch whose calls stay within it, like 5ms."
)
@click.option("--batch", default=1, show_default=True, help="Texts of a call.")
@click.option("--length", default="16,128", show_default=True, help="Tokens of the texts, comma-separated.")
@click.option("--texts", type=click.Path(), help="Measure with the lines of this file instead; - for stdin.")
@click.option(
    "--eval", "evaluation", type=click.Path(), help="Labelled texts: only variants that hold on them take part."
)
@click.option("--max-drop", type=float, default=0.005, show_default=True, help="What the metric may lose on --eval.")
@click.option("--variant", help="Pin the variant.")
@click.option("--provider", help="Pin the provider.")
@click.option("--threads", type=int, help="Pin the threads inside one operator.")
@click.option("--lanes", type=int, help="Pin the graph calls that run side by side in long lists.")
@click.option("--token-budget", type=int, help="Pin the token budget of a batch.")
@click.option("--spinning/--no-spinning", default=None, help="Pin whether threads wait actively after a call.")
@click.option("--arena/--no-arena", default=None, help="Pin whether the memory of a call is kept for the next.")
@click.option("--out", type=click.Path(), help="Write the profile to this file, for load(profile=…) and run --profile.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def command(
    bundle: str,
    latency_budget: float | None,
    batch: int,
    length: str,
    texts: str | None,
    evaluation: str | None,
    max_drop: float,
    variant: str | None,
    provider: str | None,
    threads: int | None,
    lanes: int | None,
    token_budget: int | None,
    spinning: bool | None,
    arena: bool | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Find out what runs BUNDLE fastest on this machine, and remember it for every load that leaves it open.

    Variants, providers, threads and batches are raced against each other; the slower half leaves after each round.
    """
    from edgeplm_runtime.benchmark.noise import Watch
    from edgeplm_runtime.tuning import tune

    notes_to_stderr()
    watch = Watch()
    watch.look([])
    lengths = _numbers(length)
    lines = None if texts is None else _lines(texts)
    with steps() as progress:
        passed = None if evaluation is None else _passed(bundle, evaluation, max_drop, progress)
        done = tune(
            bundle,
            batch=batch,
            lengths=lengths,
            texts=lines,
            source=texts or "",
            latency_budget_ms=latency_budget,
            variant=variant,
            provider=provider,
            threads=threads,
            lanes=lanes,
            token_budget=token_budget,
            spinning=spinning,
            arena=arena,
            variants=passed,
            out=None if out is None else Path(out),
            tell=progress,
        )
    watch.look([])
    for finding in watch.noise([]).findings:
        note(finding)
    if as_json:
        print_json(
            {
                "path": None if done.path is None else str(done.path),
                "interrupted": done.interrupted,
                "left_out": done.left_out,
                "profile": done.profile,
            }
        )
    else:
        _show(bundle, done)
    if done.interrupted:
        note("interrupted: what was measured is shown, nothing was stored")
        sys.exit(INTERRUPTED)


def _show(bundle: str, done: Tuned) -> None:
    made = table(
        f"bundle {bundle}: {done.profile.workload}",
        "variant",
        "provider",
        "threads",
        "lanes",
        "tokens a batch",
        "spinning",
        "arena",
        "ms a call",
        "p90 ms",
        "calls",
    )
    for row in done.profile.ranked[:SHOWN]:
        choice = row.choice
        made.add_row(
            choice.variant,
            choice.provider,
            str(choice.threads),
            str(choice.lanes),
            str(choice.token_budget),
            _yes(choice.spinning),
            _yes(choice.arena),
            f"{row.median_ms:.2f}",
            f"{row.p90_ms:.2f}",
            str(row.samples),
        )
    screen = console()
    screen.print(made)
    if (rest := len(done.profile.ranked) - SHOWN) > 0:
        screen.print(f"… and {rest} more that left earlier (--json has all)", markup=False)
    screen.print(done.profile.why, markup=False)
    for name, reason in done.left_out.items():
        note(f"left out: {name}: {reason}")
    if done.path is not None:
        screen.print(f"stored in {done.path}", markup=False)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _passed(bundle: str, evaluation: str, max_drop: float, progress: Callable[[str], None]) -> list[str]:
    """The variants that hold on the evaluation data, fp32 first; the others are told."""
    from edgeplm.cli._extras import build_side

    build_side()
    from edgeplm_export.quality.screen import screen

    reports = screen(bundle, evaluation, max_drop=max_drop, tell=progress)
    for name, report in reports.items():
        if report.problem is not None:
            note(f"left out: {name}: {report.problem}")
    return ["fp32", *(name for name, report in reports.items() if report.problem is None)]


def _lines(path: str) -> list[str]:
    from edgeplm_runtime.errors import BadInput

    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return [line for line in data.decode("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path} is not UTF-8 (byte {error.start + 1}). Convert it first, for example with iconv."
        ) from None


def _numbers(text: str) -> list[int]:
    from edgeplm_runtime.errors import BadInput

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(f"--length is {text!r}; give whole numbers, comma-separated, like 16,128.") from None
