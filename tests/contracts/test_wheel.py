"""The wheel holds the three packages and nothing else, and a machine that has only it answers."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import numpy as np
import pytest

from edgeplm_runtime.engine import load


ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PACKAGES = {"edgeplm": ROOT / "edgeplm", "edgeplm_runtime": ROOT / "runtime", "edgeplm_export": ROOT / "export"}
DEVICE = ROOT / "constraints-device.txt"
BUILD_SIDE = ("torch", "transformers", "onnx", "optimum", "sentence-transformers", "scipy", "scikit-learn")
TEXTS = ["a good film", "a bad film", "it was good", "naïve 東京 \U0001f600"]
PIP = ("-m", "pip", "--disable-pip-version-check")
# One scale for all activations of a batch: an int8 answer depends on the texts beside it.
TOGETHER = {"fp32": 1e-5, "int8": 2e-2}
# The device must not see the packages of the checkout.
CLEAN = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONNOUSERSITE": "1"}


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel with its extra `cpu`, in the versions of constraints-device.txt."""
    folder = tmp_path_factory.mktemp("device")
    _run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    _run(python, *PIP, "install", "-qq", "-c", DEVICE, f"edgeplm[cpu] @ {wheel.as_uri()}")
    return python


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_what_the_tree_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    tree = {}
    for package, place in PACKAGES.items():
        base = place.parent if package == "edgeplm" else place
        for path in (base / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                tree[path.relative_to(base).as_posix()] = path.read_bytes()
    assert sorted(held) == sorted(tree)
    assert held == tree
    assert all(f"{package}/py.typed" in held for package in PACKAGES)
    assert {Path(name).suffix for name in held} <= {".py", ".typed", ".toml", ".json", ".jinja"}


def test_the_base_install_asks_for_nothing_of_the_build_side(metadata: Message) -> None:
    base = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in base}
    assert names == {"click", "msgspec", "numpy", "rich", "tokenizers"}
    assert {"cpu", "gpu", "openvino", "export"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_wheel_says_what_it_is(wheel: Path, metadata: Message) -> None:
    assert metadata["Name"] == "edgeplm"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    with zipfile.ZipFile(wheel) as archive:
        (points,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        assert b"edgeplm = edgeplm.cli:script" in archive.read(points)


def test_a_device_gets_only_the_packages_that_are_listed_for_it(device: Path) -> None:
    lines = _run(device, *PIP, "list", "--format=freeze").splitlines()
    installed = {line.partition("==")[0].lower().replace("_", "-"): line.partition("==")[2] for line in lines}
    listed = {
        line.partition("==")[0].lower().replace("_", "-"): line.partition("==")[2]
        for line in DEVICE.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    for tool in ("edgeplm", "pip", "setuptools"):
        installed.pop(tool, None)
    assert installed == listed
    assert not set(BUILD_SIDE) & set(installed)
    _run(device, *PIP, "check")


def test_a_device_answers_as_the_machine_that_exported(
    device: Path, classifier_bundle: Path, embedder_bundle: Path, tmp_path: Path
) -> None:
    bundles = []
    for bundle, variant in ((classifier_bundle, "fp32"), (classifier_bundle, "int8"), (embedder_bundle, "fp32")):
        with load(bundle, variant) as engine:
            found = [engine(text) for text in TEXTS]
        answers = [a.tolist() if isinstance(a, np.ndarray) else a for a in found]
        row = {"path": str(bundle), "variant": variant, "texts": TEXTS, "answers": answers}
        bundles.append({**row, "together": TOGETHER[variant]})
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"bundles": bundles}), encoding="utf-8")
    done = json.loads(_run(device, "-I", HERE / "device_script.py", job, cwd=tmp_path))["done"]
    assert len(done) == len(bundles)
    assert all(checks[-1] == "command" for checks in done)
