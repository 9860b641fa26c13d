"""edgeplm bench, and with it: bench compare, bench peers"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from edgeplm.cli._output import console, note, notes_to_stderr, print_json, steps, table


if TYPE_CHECKING:
    from edgeplm_runtime.benchmark.benchmark import Benchmark
    from edgeplm_runtime.benchmark.records import Figure, Report

INTERRUPTED = 130
MISSING_EXTRA = "this needs the extra bench, but the package {} is not installed. pip install 'edgeplm[bench]'"


class WithOthers(click.Command):
    """A command whose first argument may name another one: `bench BUNDLE`, `bench compare OLD NEW`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of this command, or of the other one."""
        if not args or args[0] not in OTHERS:
            return super().make_context(info_name, args, parent, **extra)
        other = OTHERS[args[0]]
        common = [param for param in self.params if param.name in ("quiet", "verbose")]
        other.params += [param for param in common if param not in other.params]
        return other.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


@click.command(
    cls=WithOthers,
    epilog="Two runs: edgeplm bench compare OLD.json NEW.json. The peers' environments ahead of time: edgeplm bench "
    "peers NAME,… A folder of one of these names is given as ./compare.",
)
@click.argument("bundle", type=click.Path())
@click.option("--batch", default="1,8", show_default=True, help="Rows of a batch, comma-separated.")
@click.option("--length", default="16,128", show_default=True, help="Tokens of a row, comma-separated.")
@click.option("--repeats", default=100, show_default=True, help="Counted calls of each cell.")
@click.option("--warm-up", default=3.0, show_default=True, help="Seconds at most for a cell to become steady.")
@click.option("--cold-starts", default=5, show_default=True, help="Fresh processes to start; 0 for none.")
@click.option("--load", "load_s", type=float, help="Seconds of each point of the load curve; 0 for none. [default: 2]")
@click.option("--callers", default=8, show_default=True, help="Callers at once under load.")
@click.option("--batcher", is_flag=True, help="Under load, the callers ask a batcher, which answers them together.")
@click.option("--variant", default="auto", show_default=True, help="What to measure: names with commas, or all.")
@click.option("--provider", default="auto", show_default=True, help="CPU, OpenVINO, CUDA, …: docs/providers.md.")
@click.option("--threads", type=int, help="Threads inside one operator; default: the cores this process may use.")
@click.option("--against", default="", help="Peers to measure beside it, comma-separated: torch, openvino, …")
@click.option("--checkpoint", type=click.Path(), help="What the peers read; default: what the bundle was made of.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write a report there, one file that works offline.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, every sample in it.")
@click.pass_context
def command(
    ctx: click.Context,
    bundle: str,
    batch: str,
    length: str,
    repeats: int,
    warm_up: float,
    cold_starts: int,
    load_s: float | None,
    callers: int,
    batcher: bool,
    variant: str,
    provider: str,
    threads: int | None,
    against: str,
    checkpoint: str | None,
    html: str | None,
    as_json: bool,
) -> None:
    """Measure BUNDLE on this machine: latency for each batch × length, under load, at a cold start; peak memory.

    Each cell is called until it is steady, then all are called in turns. Lengths are token counts, special ones
    included. Ctrl-C keeps what was measured.
    """
    from edgeplm_runtime.benchmark.benchmark import Benchmark, Plan

    notes_to_stderr()
    peers = [name.strip() for name in against.split(",") if name.strip()]
    renderer = roofline = None
    if html is not None:
        renderer, roofline = _extra("html"), _extra("roofline")
        renderer.check_place(html)
    if peers:
        _extra("against").check_names(peers)
    plan = Plan(
        bundle=bundle,
        batches=_numbers("--batch", batch),
        lengths=_numbers("--length", length),
        repeats=repeats,
        warm_up_s=warm_up,
        cold_starts=cold_starts,
        variant=variant,
        provider=provider,
        threads=threads,
    )
    made = Benchmark(plan=plan)
    loading = _loading(made, load_s, callers, batcher=batcher)
    with steps() as progress:
        try:
            if peers:
                side = _extra("against")
                place = side.checkpoint_of(made.manifest, checkpoint)
                made.peers = side.entries(peers, place, output=made.peer_output, threads=made.threads, tell=progress)
            made.measure(progress)
            made.start_cold(progress)
            if loading is not None:
                _extra("load_curve").measure_engine(loading, made, progress)
            if roofline is not None:
                roofline.measure(made, progress)
        except KeyboardInterrupt:
            made.interrupted = True
        if loading is not None:
            made.load = loading.curve()
    report = made.report()
    for sentence in (*report.notes, *(f"noisy: {finding}." for finding in report.noise.findings)):
        note(sentence)
    if renderer is not None:
        renderer.write(report, html)
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report.interrupted:
        click.echo("edgeplm: interrupted; what was measured until then is kept.", err=True)
        ctx.exit(INTERRUPTED)


@click.command()
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@click.option("--tolerance", default=0.05, show_default=True, help="A change up to this share is none.")
@click.option("--across-machines", is_flag=True, help="Compare although the machines differ.")
@click.option("--accept-noise", is_flag=True, help="Compare although a run was flagged as noisy, or interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.pass_context
def compare(
    ctx: click.Context, old: str, new: str, tolerance: float, across_machines: bool, accept_noise: bool, as_json: bool
) -> None:
    """Compare two documents of `edgeplm bench --json`. Exit code 1 when something got slower beyond the noise."""
    side = _extra("compare")
    found = side.compare_files(
        old, new, tolerance=tolerance, across_machines=across_machines, accept_noise=accept_noise
    )
    for sentence in found.notes:
        note(sentence)
    if as_json:
        print_json(found)
    else:
        made = table(f"{old} → {new}", "what", "old ms", "new ms", "new / old", "99 % interval", "")
        for row in found.rows:
            figures = (f"{row.old_ms:.2f}", f"{row.new_ms:.2f}", f"{row.ratio:.3f}", f"{row.low:.3f} – {row.high:.3f}")
            made.add_row(_plain(row.what), *figures, row.verdict)
        screen = console()
        screen.print(made)
        screen.print(found.words, markup=False)
    ctx.exit(1 if found.slower else 0)


@click.command()
@click.argument("names")
def peers(names: str) -> None:
    """Make the environments of the peers NAMES (comma-separated, or all), so that `--against` finds them."""
    from edgeplm_runtime.errors import EdgePLMError

    side = _extra("environments")
    table_ = _extra("peers")
    wanted = list(table_.PEERS) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    _extra("against").check_names(wanted)
    failed = []
    with steps() as progress:
        for name in dict.fromkeys(table_.PEERS[one].environment for one in wanted):
            try:
                python = side.environment(name, table_.ENVIRONMENTS[name], side.folder(), progress)
            except side.Gone as error:
                failed.append(f"{name}: {error}")
            else:
                click.echo(f"{name}: {python}")
    if failed:
        raise EdgePLMError("\n".join(failed))


OTHERS: dict[str, click.Command] = {"compare": compare, "peers": peers}


def _extra(name: str) -> Any:
    """A module of edgeplm_export.bench. Raises MissingDependency with the line that installs what it needs."""
    from edgeplm_runtime.errors import MissingDependency

    try:
        return importlib.import_module(f"edgeplm_export.bench.{name}")
    except ModuleNotFoundError as error:
        raise MissingDependency(MISSING_EXTRA.format(error.name)) from None


def _loading(made: Benchmark, seconds: float | None, callers: int, *, batcher: bool) -> Any:
    """The load curve to be measured; None where none is asked for, or its extra is not there and none was asked for."""
    from edgeplm_runtime.errors import MissingDependency

    if seconds == 0:
        return None
    try:
        side = _extra("load_curve")
    except MissingDependency:
        if seconds is not None:
            raise
        made.notes.append("no load curve: it needs the extra bench (pip install 'edgeplm[bench]').")
        return None
    return side.of_engine(made, seconds=2.0 if seconds is None else seconds, callers=callers, batcher=batcher)


def _show(report: Report) -> None:
    """The tables for a person."""
    screen = console()
    for one in report.candidates:
        if not one.cells:
            continue
        ran = f" on {one.active.provider}" if one.active else ""
        made = table(
            _plain(f"{one.name}{ran}, {report.threads} threads"),
            "batch × tokens",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "rows/s",
            "mJ/row",
        )
        for cell in one.cells:
            energy = "–" if cell.joules_per_row is None else f"{cell.joules_per_row * 1e3:.2f}"
            times = (_shown(figure) for figure in (cell.p50, cell.p90, cell.p99, cell.p999))
            made.add_row(f"{cell.batch} × {cell.length}", *times, f"{cell.rows_per_s:.0f}", energy)
        screen.print(made)
        facts = []
        if one.peak_rss_bytes:
            facts.append(f"peak memory {one.peak_rss_bytes / 2**20:.0f} MB")
        if one.size_bytes:
            facts.append(f"files {one.size_bytes / 1e6:.1f} MB")
        if one.closeness:
            facts.append(f"cosine to {one.closeness.to}: {one.closeness.mean_cosine:.5f}")
            facts.append(f"the smallest {one.closeness.min_cosine:.5f}")
        screen.print(", ".join(facts), markup=False)
    if report.cold_start:
        screen.print(
            f"fresh process, start to printed answer: {report.cold_start.wall_s * 1e3:.0f} ms, "
            f"peak memory {report.cold_start.peak_rss_bytes / 2**20:.0f} MB "
            f"(median of {len(report.cold_start.samples_s)})"
        )
    if report.load:
        _show_load(report)
    screen.print(f"energy: {report.energy}", markup=False)


def _show_load(report: Report) -> None:
    load = report.load
    assert load is not None
    title = (
        f"one text an arrival, {load.callers} callers of {load.asked}: capacity {load.capacity_per_s:.0f}/s, "
        f"unloaded p50 {load.unloaded_p50_ms:.2f} ms"
    )
    made = table(title, "offered/s", "answered/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "")
    for point in load.points:
        times = (f"{ms:.2f}" for ms in (point.p50_ms, point.p90_ms, point.p99_ms, point.p999_ms))
        rates = (f"{point.offered_per_s:.0f}", f"{point.answered_per_s:.0f}")
        made.add_row(*rates, *times, "saturated" if point.saturated else "")
    console().print(made)


def _shown(figure: Figure) -> str:
    """A figure with its interval; an open end where the samples are too few."""
    if figure.low_ms is None and figure.high_ms is None:
        return f"{figure.ms:.2f}"
    low = "…" if figure.low_ms is None else f"{figure.low_ms:.2f}"
    high = "…" if figure.high_ms is None else f"{figure.high_ms:.2f}"
    return f"{figure.ms:.2f} ({low}–{high})"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _numbers(option: str, text: str) -> list[int]:
    from edgeplm_runtime.errors import BadInput

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(f"{option} is {text!r}; give whole numbers, comma-separated, like 1,8,32.") from None
