"""The real onnxruntime-gpu wheel on a machine without a GPU: what was asked for is refused, never replaced."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest


pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def gpu_command(gpu_python: Path) -> list[str]:
    return [str(gpu_python), "-m", "edgeplm"]


@pytest.mark.parametrize(
    ("provider", "library"),
    [("CUDA", r"libcu[a-zA-Z]+\.so\.13"), ("TensorRT", r"lib(cu[a-zA-Z]+|nvinfer)\.so\.[0-9]+")],
)
def test_a_provider_that_cannot_be_loaded_is_refused_with_what_it_needs(
    gpu_command: list[str], classifier_bundle: Path, provider: str, library: str
) -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA driver; the test is about machines without")
    command = [*gpu_command, "run", str(classifier_bundle), "a good film", "--provider", provider]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert f"{provider} is not usable here" in done.stderr
    told = done.stderr[done.stderr.index("edgeplm: ") :]
    assert re.search(rf"{library}: cannot open shared object file", told), told
    assert "an NVIDIA GPU with a CUDA 13 driver" in told
    assert "Traceback" not in done.stderr


def test_the_cpu_answers_with_the_gpu_wheel_too(gpu_command: list[str], classifier_bundle: Path) -> None:
    command = [*gpu_command, "run", str(classifier_bundle), "a good film", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["label"] in ("NEGATIVE", "POSITIVE")


def test_doctor_runs_a_node_on_each_provider_and_says_which_fail(gpu_command: list[str]) -> None:
    done = subprocess.run([*gpu_command, "doctor", "--json"], capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert [name.split()[0] for name in document["onnxruntime"]] == ["onnxruntime-gpu"]
    assert document["providers"]["CPU"] is None
    for name in ("DirectML", "CoreML", "QNN", "WebGPU"):  # not in this wheel
        assert f"built without {name}" in document["providers"][name]
    assert "NvTensorRTRTX is not installed" in document["providers"]["NvTensorRTRTX"]  # a plugin of its own
    assert document["versions"]["torch"] is None


def test_two_distributions_at_once_are_named_by_doctor(gpu_command: list[str], tmp_path: Path) -> None:
    (tmp_path / "onnxruntime-1.31.1.dist-info").mkdir()
    done = subprocess.run(
        [*gpu_command, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert "overwrite each other's files" in json.loads(done.stdout)["advice"][0]
