"""How long from the start of a process to its first embedding, and how much memory at most?

Fresh processes, one after the other, in turns; whole-process figures of the operating system. Beside EdgePLM's
command line: its Python API, a bare script of numpy, onnxruntime and tokenizers, fastembed, sentence-transformers.
`python -m benchmarks.startup TURNS ENVIRONMENT` measures another build of EdgePLM in the same turns: that of a virtual
environment, like one with the version before a change.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks._common import HERE, WORK, assets, bundle_of, environment, plain_onnx, ratio, wheel_of_this, write
from benchmarks.throughput import FASTEMBED, MODEL
from edgeplm.cli._output import console, table
from edgeplm_runtime.benchmark.cold_start import LAUNCHER


TEXT = "The quick brown fox jumps over the lazy dog."
BARE = "bare script, same stored graph"


def main() -> None:
    """Start every candidate once a turn; print a table, write one JSON."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    other = Path(sys.argv[2]) / "bin" / "edgeplm" if len(sys.argv) > 2 else None
    bundle, checkpoint, own = bundle_of(MODEL), assets() / "models" / MODEL, HERE / "peers"
    device = environment(
        "device", ("-c", str(HERE.parent / "constraints-device.txt"), f"edgeplm[cpu] @ file://{wheel_of_this()}")
    )
    fastembed = environment("fastembed", FASTEMBED)
    candidates: dict[str, list[str | Path]] = {
        "EdgePLM, edgeplm run": [device.with_name("edgeplm"), "run", bundle, TEXT, "--json"],
        "EdgePLM, edgeplm run, int8": [device.with_name("edgeplm"), "run", bundle, TEXT, "--json", "--variant", "int8"],
        "EdgePLM, Python, prepacked": [device, own / "edgeplm_start.py", bundle],
        "EdgePLM, edgeplm run, hashes skipped": [
            device.with_name("edgeplm"),
            "run",
            bundle,
            TEXT,
            "--json",
            "--skip-hashes",
        ],
        BARE: [device, own / "bare_start.py", bundle],
        "fastembed": [fastembed, own / "fastembed_run.py", plain_onnx(MODEL)],
        "sentence-transformers torch": [sys.executable, own / "sentence_transformers_start.py", checkpoint],
    }
    if other is not None:
        candidates["EdgePLM, edgeplm run, another build"] = [other, "run", bundle, TEXT, "--json"]
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    peaks: dict[str, list[int]] = {name: [] for name in candidates}
    for turn in range(turns + 1):
        for name, command in candidates.items():
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, command)],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"},
            )
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            wall, peak = done.stdout.split()[-2:]
            if turn:  # the first turn fills the page cache
                seconds[name].append(float(wall))
                peaks[name].append(int(peak) * 1024)
    columns = ("", "ms", "× fastembed", "/ bare script", "peak MB")
    made = table(f"process start to first embedding to exit, median of {turns}", *columns)
    for name, values in seconds.items():
        speed, share = ratio(seconds["fastembed"], values), ratio(values, seconds[BARE])
        median, most = statistics.median(values) * 1e3, max(peaks[name]) / 2**20
        made.add_row(name, f"{median:.0f}", f"{speed:.2f}", f"{share:.2f}", f"{most:.0f}")
    console().print(made)
    write("startup", {"seconds": seconds, "peak_rss_bytes": peaks, "fastembed": FASTEMBED})


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    main()
