"""How long a fresh process takes to its first printed answer, and how much memory it has at most."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from edgeplm_runtime.benchmark.cells import SENTENCES
from edgeplm_runtime.benchmark.records import ColdStart
from edgeplm_runtime.errors import EdgePLMError


# A process inherits the peak memory of the one that starts it: this small one stands in between.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def start_once(bundle: str, arguments: Sequence[str]) -> tuple[float, int]:
    """Seconds and peak bytes of `edgeplm run BUNDLE TEXT --json` in a fresh process. Raises EdgePLMError."""
    command = [sys.executable, "-m", "edgeplm", "run", bundle, SENTENCES[0], "--json", *arguments]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise EdgePLMError(f"the cold start failed: {done.stderr.strip()}")
    wall, peak = done.stdout.split()
    return float(wall), int(peak) * (1 if sys.platform == "darwin" else 1024)


def summed_up(runs: Sequence[tuple[float, int]]) -> ColdStart | None:
    """The record of those runs; None for none."""
    if not runs:
        return None
    walls = tuple(wall for wall, _ in runs)
    return ColdStart(wall_s=float(np.median(walls)), peak_rss_bytes=max(peak for _, peak in runs), samples_s=walls)
