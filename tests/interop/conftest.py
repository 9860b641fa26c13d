"""The other libraries' environments, each made once in a folder of its own, and the bundles that they are to read.

The environments lie in `EDGEPLM_INTEROP`, or else in `.interop/` of the checkout. Each has a stamp made of the files
that pin its versions: it is made anew when they change, and a second run finds it ready.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.pipeline import export


HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PARTS = 1_200  # seconds that one step of making an environment may take

Ask = Callable[[dict[str, Any]], list[Any]]


def _environment(name: str, pins: list[Path], make: Callable[[Path], None]) -> Path:
    """The folder of that environment, made by `make` unless its stamp says that it is there already."""
    home = Path(os.environ.get("EDGEPLM_INTEROP") or ROOT / ".interop").resolve()
    home.mkdir(parents=True, exist_ok=True)
    folder, stamp = home / name, home / name / ".made"
    wanted = hashlib.sha256(b"\0".join(path.read_bytes() for path in pins)).hexdigest()
    with (home / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            stamp.write_text(wanted, encoding="utf-8")
    return folder


def _step(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PARTS, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-3000:]}", pytrace=False)


def _answers(command: list[str | Path], job: Path, asked: dict[str, Any], cwd: Path) -> list[Any]:
    """Write the job, run the reader on it without any hub, and give its answers."""
    job.write_text(json.dumps(asked), encoding="utf-8")
    surroundings = {**os.environ, "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(
        [*command, job], cwd=cwd, env=surroundings, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"the reader failed on {asked}:\n{done.stderr[-3000:]}"
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])["answers"]
    assert len(answers) == len(asked["texts"])
    return answers


@pytest.fixture(scope="session")
def optimum_python() -> Path:
    """The Python of the environment with optimum-onnx and sentence-transformers' onnx backend (optimum.txt)."""
    pins = HERE / "optimum.txt"

    def make(folder: Path) -> None:
        _step(sys.executable, "-m", "venv", folder)
        pip: list[str | Path] = [
            folder / "bin" / "python",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "-qq",
        ]
        torch = re.search(r"^torch==.*$", pins.read_text(encoding="utf-8"), re.MULTILINE)
        assert torch is not None
        # By itself: with others, pip may prefer a build that brings several GB of CUDA libraries.
        _step(*pip, torch.group())
        _step(*pip, "-r", pins)

    return _environment("optimum", [pins], make) / "bin" / "python"


@pytest.fixture(scope="session")
def gpu_python() -> Path:
    """The Python of an environment with the device side and the onnxruntime-gpu wheel (gpu.txt)."""
    pins = HERE / "gpu.txt"

    def make(folder: Path) -> None:
        _step(sys.executable, "-m", "venv", folder)
        pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "-qq"]
        _step(*pip, "-r", pins)
        _step(*pip, "--no-deps", "-e", ROOT)

    return _environment("gpu", [pins, ROOT / "pyproject.toml"], make) / "bin" / "python"


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with transformers.js in its node_modules (package.json and its lock)."""
    if not shutil.which("npm"):
        pytest.skip("transformers.js needs node and npm: apt-get install nodejs npm")
    pins = [HERE / "package.json", HERE / "package-lock.json"]

    def make(folder: Path) -> None:
        for path in pins:
            shutil.copy(path, folder)
        # The packages ship the binaries for the CPU; their install scripts would fetch others from elsewhere.
        _step("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)

    return _environment("node", pins, make)


@pytest.fixture
def ask_python(optimum_python: Path, tmp_path: Path) -> Ask:
    """Ask a reader of ask_optimum.py."""
    script = HERE / "ask_optimum.py"
    return lambda asked: _answers([optimum_python, script], tmp_path / "job.json", asked, tmp_path)


@pytest.fixture
def ask_node(node_folder: Path, tmp_path: Path) -> Ask:
    """Ask transformers.js through ask_transformers_js.mjs."""
    # An import is looked up from the script's own folder.
    script = shutil.copy(HERE / "ask_transformers_js.mjs", node_folder)
    return lambda asked: _answers(["node", script], tmp_path / "job.json", asked, tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, classifier_bundle: Path, embedder_bundle: Path) -> Path:
    """A folder of models, each reached through a link as in a cache: the toys `classifier` and `embedder`."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "classifier").symlink_to(classifier_bundle, target_is_directory=True)
    (folder / "embedder").symlink_to(embedder_bundle, target_is_directory=True)
    return folder


@pytest.fixture(scope="session")
def real_models(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    """A folder with the bundles of two real checkpoints, in every precision: `classifier` and `embedder`."""
    folder = tmp_path_factory.mktemp("real")
    for name, checkpoint in (("classifier", "minilm-l6-sst2"), ("embedder", "all-minilm-l6-v2")):
        export(str(assets / "models" / checkpoint), folder / name, precisions=["fp32", "fp16", "int8"])
    return folder
