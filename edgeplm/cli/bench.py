"""edgeplm bench"""

from __future__ import annotations

from typing import Any

import click

from edgeplm.cli._output import console, note, notes_to_stderr, print_json, steps, table


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--batch", default="1,8", show_default=True, help="Rows of a batch, comma-separated.")
@click.option("--length", default="16,128", show_default=True, help="Tokens of a row, comma-separated.")
@click.option("--repeats", default=50, show_default=True, help="Calls of each cell.")
@click.option("--cold-starts", default=5, show_default=True, help="Fresh processes to start; 0 for none.")
@click.option("--variant", default="auto", show_default=True, help="The variant to measure.")
@click.option("--provider", default="auto", show_default=True, help="CPU, OpenVINO, CUDA, …: docs/providers.md.")
@click.option("--threads", type=int, help="Threads inside one operator; default: the cores this process may use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, every sample in it.")
def command(
    bundle: str,
    batch: str,
    length: str,
    repeats: int,
    cold_starts: int,
    variant: str,
    provider: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure BUNDLE on this machine: latency of the graph for each batch × length, cold start, peak memory.

    Each cell is warmed up, then all cells are called in turns. Lengths are token counts, special ones included.
    """
    from edgeplm_runtime.benchmark import measure_cold_start, measure_grid, noise
    from edgeplm_runtime.engine import load
    from edgeplm_runtime.machine import describe, peak_rss_bytes

    notes_to_stderr()
    busy = noise()
    batches, lengths = _numbers("--batch", batch), _numbers("--length", length)
    with steps() as progress:
        with load(bundle, variant, provider, threads) as engine:
            active = engine.active
            known = [n for n in lengths if n <= engine.manifest.text.max_length]
            for beyond in sorted(set(lengths) - set(known)):
                note(f"{beyond} tokens are more than this model takes; left out.")
            cells = measure_grid(engine, batches, known or lengths, repeats=repeats, progress=progress)
            peak = peak_rss_bytes()
        arguments = ["--variant", active.variant, "--provider", provider, "--threads", str(active.threads)]
        cold = None
        if cold_starts > 0:
            progress(f"starting {cold_starts} fresh processes")
            cold = measure_cold_start(bundle, arguments, runs=cold_starts)
    if busy:
        note(f"{busy}.")
    if as_json:
        document: dict[str, Any] = {
            "bundle": bundle,
            "active": active,
            "machine": describe(),
            "cells": cells,
            "cold_start": cold,
            "peak_rss_bytes": peak,
            "noise": busy,
        }
        print_json(document)
        return
    title = f"{bundle}: {active.variant} on {active.provider}, {active.threads} threads"
    made = table(title, "batch × tokens", "p50 ms", "p90 ms", "p99 ms", "mean ms", "rows/s")
    for cell in cells:
        times = (cell.p50_ms, cell.p90_ms, cell.p99_ms, cell.mean_ms)
        made.add_row(f"{cell.batch} × {cell.length}", *(f"{t:.2f}" for t in times), f"{cell.rows_per_s:.0f}")
    screen = console()
    screen.print(made)
    screen.print(f"peak memory of this process: {peak / 2**20:.0f} MB")
    if cold:
        screen.print(
            f"fresh process, start to printed answer: {cold.wall_s * 1e3:.0f} ms, "
            f"peak memory {cold.peak_rss_bytes / 2**20:.0f} MB (median of {len(cold.samples_s)})"
        )


def _numbers(option: str, text: str) -> list[int]:
    from edgeplm_runtime.errors import BadInput

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(f"{option} is {text!r}; give whole numbers, comma-separated, like 1,8,32.") from None
