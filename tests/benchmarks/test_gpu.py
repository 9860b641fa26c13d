"""The GPU benchmark on a machine that has none, which is where it can be tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]


def test_without_a_gpu_it_says_so_and_measures_nothing() -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA driver; the test is about machines without")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("nothing to measure: CUDA: ")
    assert "finds no GPU" in done.stderr
    assert "Traceback" not in done.stderr
