"""The proof is run by a process that cannot use the build side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgeplm_export.parity import device
from edgeplm_export.parity.device import run_device
from edgeplm_export.pipeline import export
from edgeplm_runtime.errors import CannotWrite, GateFailed
from edgeplm_runtime.probe import FORBIDDEN, IdsCell, Job


@pytest.fixture
def job(classifier_bundle: Path) -> Job:
    """One small cell of the toy bundle."""
    cell = IdsCell(name="one", ids=((2, 6, 3),), mask=((1, 1, 1),))
    return Job(bundle=str(classifier_bundle), variant="fp32", outputs=("logits",), ids=(cell,), texts=())


def test_the_device_process_loads_nothing_of_the_build_side(job: Job) -> None:
    assert not set(run_device(job).modules) & {*FORBIDDEN, "click", "rich", "edgeplm_export"}


@pytest.mark.parametrize("name", ["torch", "transformers", "onnx"])
def test_the_build_side_cannot_be_imported_there(name: str) -> None:
    code = f"import sys; from edgeplm_runtime.probe import Blocker; sys.meta_path.insert(0, Blocker()); import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: {name} may not be imported on the device side"


def test_a_device_process_that_has_torch_proves_nothing(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python runs a sitecustomize before the probe can block anything."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys, types\nsys.modules['torch'] = types.ModuleType('torch')\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    with pytest.raises(GateFailed, match="the device process loaded torch; the proof would not be torch-free"):
        export(str(toy_classifier), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_device_process_that_dies_is_a_failed_gate(job: Job) -> None:
    with pytest.raises(GateFailed, match=r"nonsense does not run on the device side: .*unknown variant 'nonsense'"):
        run_device(msgspec.structs.replace(job, variant="nonsense"))


def test_a_device_process_that_is_killed_is_a_failed_gate(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(GateFailed, match="exit code 1"):
        run_device(job)


def test_no_space_for_the_answers_is_said_as_that(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'OSError: [Errno 28] No space left on device' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(CannotWrite, match="No space left on device"):
        run_device(job)


def test_the_device_process_finds_the_packages_where_this_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/somewhere", *sys.path])
    assert device._environment()["PYTHONPATH"].split(os.pathsep)[0] == "/somewhere"
