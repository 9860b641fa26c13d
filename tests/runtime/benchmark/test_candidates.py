"""Candidates as processes: what they say, and how their end is told."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeplm_runtime.benchmark import candidates
from edgeplm_runtime.benchmark.candidates import OWN_MODULE, Candidate, Gone
from edgeplm_runtime.benchmark.cells import cell_inputs
from edgeplm_runtime.benchmark.protocol import NAMES, Job
from edgeplm_runtime.engine import Engine


def _job(bundle: Path, folder: Path, kind: str = "fp32") -> Job:
    return Job(
        kind=kind, source=str(bundle), folder=str(folder), exports="", calibration="", output="logits", threads=1
    )


def test_a_variant_answers_in_its_own_process_as_in_this_one(
    classifier_bundle: Path, engine: Engine, tmp_path: Path
) -> None:
    cell = cell_inputs(engine, 3, 12)
    path = cell.store(tmp_path)
    candidate = Candidate(OWN_MODULE, _job(classifier_bundle, tmp_path / "own"))
    try:
        candidate.feed(cell.name, path)
        candidate.answer(cell.name, tmp_path / "answer.npy")
        samples = candidate.run(cell.name, 4)
        peak = candidate.peak_rss_bytes()
    finally:
        candidate.close()
    wanted = engine.forward(*(cell.arrays[name] for name in NAMES))["logits"]
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), wanted, rtol=1e-5, atol=1e-6)
    assert len(samples) == 4
    assert all(ms > 0 for ms in samples)
    assert candidate.reads == "ids"
    assert candidate.active["variant"] == "fp32"
    assert candidate.size_bytes > 1000
    assert peak > 2**20 or not Path("/proc/self/status").is_file()


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Gone, match="no bundle"):
        Candidate(OWN_MODULE, _job(tmp_path / "no bundle", tmp_path / "own"))


def test_a_process_that_is_killed_is_gone_with_the_signal(classifier_bundle: Path, tmp_path: Path) -> None:
    candidate = Candidate(OWN_MODULE, _job(classifier_bundle, tmp_path / "own"))
    os.kill(candidate.pid, signal.SIGKILL)
    with pytest.raises(Gone, match="signal 9: no memory was left"):
        candidate.run("1x16", 1)
    candidate.close()


def test_ctrl_c_on_the_terminal_does_not_reach_a_candidate(classifier_bundle: Path, tmp_path: Path) -> None:
    candidate = Candidate(OWN_MODULE, _job(classifier_bundle, tmp_path / "own"))
    try:
        assert os.getpgid(candidate.pid) != os.getpgid(0)
    finally:
        candidate.close()


def test_what_a_candidate_started_itself_ends_with_it(tmp_path: Path) -> None:
    """As torch.compile's workers, which would go on compiling."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/parent.py").write_text(
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from edgeplm_runtime.benchmark.protocol import Job, Opened, speak\n"
        "def prepare(job: Job) -> None: ...\n"
        "def opened(job: Job) -> Opened:\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    job.path('child').write_text(str(child.pid))\n"
        "    return Opened(call=lambda feeds: feeds, files=())\n"
        "speak(prepare, opened)\n"
    )
    packages = {"its_package": str(tmp_path / "beside")}
    candidate = Candidate("its_package.parent", _job(tmp_path, tmp_path / "own"), packages=packages)
    child = int((tmp_path / "own/child").read_text())
    os.kill(child, 0)
    candidate.kill()
    state = ""
    for _ in range(100):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":  # ended; whoever inherited it has not yet looked
            return
        time.sleep(0.05)
    pytest.fail(f"the child is still there: {state}")


def test_none_is_started_when_memory_is_short(
    classifier_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "available_kilobytes", lambda: 1000)
    with pytest.raises(Gone, match=r"only 0\.0 GB of memory were left"):
        Candidate(OWN_MODULE, _job(classifier_bundle, tmp_path / "own"))


def test_another_environment_sees_none_of_our_packages(tmp_path: Path) -> None:
    """Its Python finds the protocol's folder and nothing that lies beside it."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/spy.py").write_text(
        "import importlib.util, json, os\n"
        "import edgeplm_runtime.benchmark.protocol\n"
        "found = [n for n in ('edgeplm', 'edgeplm_export') if importlib.util.find_spec(n)]\n"
        "raise SystemExit(f'found {found}, path {os.environ.get(\"PYTHONPATH\")}')\n"
    )
    python = tmp_path / "python"  # another name for this one: PYTHONPATH is not handed on
    python.symlink_to(sys.executable)
    packages = {"spy_package": str(tmp_path / "beside")}
    with pytest.raises(Gone, match=r"path None"):
        Candidate("spy_package.spy", _job(tmp_path, tmp_path / "own"), python=python, packages=packages)
