"""Does memory stay flat: over many calls of varied lengths, over long streams, and in several processes at once?

    python -m benchmarks.memory calls COUNT [BUNDLE]     graph calls of 1 to 4 rows and 1 to 64 tokens, some far larger
    python -m benchmarks.memory stream COUNT [BUNDLE [VARIANT]]   short real sentences, ten times as many from row to
                                                         row, up to COUNT
    python -m benchmarks.memory processes                what two processes with the same bundle share

BUNDLE is MiniLM's unless given; a tiny model shows in minutes what 1,000,000 calls leave behind. CPU time per token
says on a busy machine, too, whether the work per token stays the same; the seconds do on a quiet one. Figures come
from /proc, so Linux only.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import assets, bundle_of, write
from benchmarks.batcher import MODEL
from edgeplm.cli._output import console, table
from edgeplm_runtime.engine import Engine, load
from edgeplm_runtime.machine import current_rss_bytes, peak_rss_bytes


SHORT_S = 2.0  # streams that take less are repeated for so long, and the median counts


def main() -> None:
    """Answer one of the three questions; print a table, write one JSON."""
    question, *rest = sys.argv[1:]
    if question == "processes":
        processes()
        return
    bundle = Path(rest[1]) if rest[1:] else bundle_of(MODEL)
    if question == "calls":
        calls(int(rest[0]), bundle)
    else:
        stream(int(rest[0]), bundle, rest[2] if rest[2:] else "auto")


def calls(count: int, bundle: Path) -> None:
    """Resident memory over `count` calls; every 1000th is larger than a batch may be."""
    random = np.random.default_rng(0)
    rows: list[dict[str, float]] = []
    with load(bundle) as engine:
        limit = engine.manifest.text.max_length
        most = engine.manifest.text.vocabulary
        start, marks = time.perf_counter(), {round(count * part / 10) for part in range(11)}
        for done in range(count + 1):
            if done in marks:
                rows.append({"calls": done, "seconds": time.perf_counter() - start, "mb": current_rss_bytes() / 2**20})
                _show(f"calls of varied lengths, {bundle.name}", rows, f"memory_calls_{bundle.name}")
            large = (4096 // limit, limit)
            usual = (int(random.integers(1, 5)), int(random.geometric(1 / 8)) % min(64, limit) + 1)
            engine.forward(random.integers(0, most, large if done % 1000 == 999 else usual))


def stream(count: int, bundle: Path, variant: str) -> None:
    """Time per token and memory for 10 texts, 100, … up to `count`."""
    rows: list[dict[str, Any]] = []
    with load(bundle, variant) as engine:
        name, number = engine.active.variant, 10
        while number <= count:
            passes = [_passed(engine, number)]
            while sum(wall for _, wall, _ in passes) < SHORT_S:
                passes.append(_passed(engine, number))
            tokens = passes[0][0]
            wall = statistics.median(wall for _, wall, _ in passes)
            cpu = statistics.median(cpu for _, _, cpu in passes)
            rows.append(
                {
                    "texts": number,
                    "passes": len(passes),
                    "tokens": tokens,
                    "seconds": wall,
                    "tokens_per_s": tokens / wall,
                    "us_per_token": wall / tokens * 1e6,
                    "cpu_us_per_token": cpu / tokens * 1e6,
                    "mb": current_rss_bytes() / 2**20,
                    "peak_mb": peak_rss_bytes() / 2**20,
                }
            )
            number *= 10
            _show(f"streams of short sentences, {bundle.name}, {name}", rows, f"memory_stream_{bundle.name}_{name}")


def _passed(engine: Engine, number: int) -> tuple[int, float, float]:
    """Tokens of `number` sentences through one stream, and the seconds and CPU seconds of all threads that it took."""
    start, cpu = time.perf_counter(), time.process_time()
    tokens = sum(answer.tokens for answer in engine.stream(_sentences(number), details=True))
    return tokens, time.perf_counter() - start, time.process_time() - cpu


def processes() -> None:
    """How much of the mapped weights two processes hold together, with weights prepacked and not."""
    rows = []
    for variant in ("fp32", "int8"):
        for prepack in (True, False):
            code = (
                "import sys; from edgeplm_runtime.engine import load; "
                f"e = load({str(bundle_of(MODEL))!r}, {variant!r}, prepack={prepack}, threads=1); e('a text'); "
                "print(flush=True); sys.stdin.read()"
            )
            pair = [subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) for _ in range(2)]
            for process in pair:
                assert process.stdout is not None
                process.stdout.readline()
            found = mapped(Path(f"/proc/{pair[0].pid}/smaps"))
            rows.append({"variant": variant, "prepack": prepack, **{k: v / 1024 for k, v in found.items()}})
            for process in pair:
                process.communicate("")
    _show("one of two processes with the same bundle, MB", rows, "memory_processes")


def mapped(smaps: Path) -> Counter[str]:
    """Kilobytes of mapped weights that are resident, of those the ones shared with another process, and anonymous."""
    found: Counter[str] = Counter({"weights": 0, "weights_shared": 0, "anonymous": 0})
    name = ""
    for line in smaps.read_text().splitlines():
        key, _, rest = line.partition(":")
        if "-" in key.split(" ")[0] and " " in key:
            name = line.split(" ", 5)[-1].strip()
        elif name.endswith(".onnx_data"):
            found["weights"] += int(rest.split()[0]) if key == "Rss" else 0
            found["weights_shared"] += int(rest.split()[0]) if key in ("Shared_Clean", "Shared_Dirty") else 0
        elif key == "Anonymous":
            found["anonymous"] += int(rest.split()[0])
    return found


def _sentences(count: int) -> Iterator[str]:
    """The first `count` sentences of STS-B, read line by line, over and over."""
    left = count
    while left:
        with (assets() / "data" / "stsb" / "en-train.tsv").open(encoding="utf-8") as file:
            next(file)
            for line in file:
                for sentence in line.rstrip("\n").split("\t")[:2]:
                    if not left:
                        return
                    left -= 1
                    yield sentence


def _show(title: str, rows: list[dict[str, Any]], name: str) -> None:
    made = table(title, *rows[0])
    for row in rows:
        made.add_row(*(f"{value:,.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    console().print(made)
    write(name, {"rows": rows})


if __name__ == "__main__":
    main()
