"""The emulator, and bundles of a toy whose int8 products saturate on AVX2 without VNNI."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeplm_export.pipeline import export
from edgeplm_export.quantizing import quantize
from edgeplm_export.toys import make_toy, saturate
from edgeplm_runtime.bundle.manifest import sealed


Ask = Callable[..., dict[str, Any]]
SECONDS = 280  # of one emulated process; it takes ten on an idle core


@pytest.fixture(scope="session")
def emulator() -> str:
    """qemu's emulator of single x86-64 programs; skips, saying how to get it, where there is none."""
    found = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if found is None:
        pytest.skip("no emulator of other CPUs here: apt-get install qemu-user")
    if sys.platform != "linux":
        pytest.skip("qemu-user runs programs of Linux only")
    return found


@pytest.fixture
def on_cpu(emulator: str) -> Ask:
    """Load variants of a bundle in a process on that CPU: the features seen, and what each load said."""

    def ask(cpu: str, bundle: Path, *variants: str) -> dict[str, Any]:
        script = Path(__file__).parent / "ask_load.py"
        surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "QEMU_CPU": cpu, "PYTHONDONTWRITEBYTECODE": "1"}
        surroundings.pop("EDGEPLM_ISA", None)
        command = [emulator, sys.executable, str(script), str(bundle), *variants]
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    return ask


@pytest.fixture(scope="session")
def saturating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose int8 products saturate."""
    return saturate(make_toy(tmp_path_factory.mktemp("saturating") / "toy", "bert"))


@pytest.fixture(scope="session")
def saturating_bundle(saturating: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle with fp32 and int8. Read only."""
    out = tmp_path_factory.mktemp("saturating") / "bundle"
    export(str(saturating), out, precisions=["fp32", "int8"])
    return out


@pytest.fixture(scope="session")
def seven_bit_bundle(saturating: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle with int8 weights of 7 bits. Read only."""
    out = tmp_path_factory.mktemp("saturating") / "seven"
    export(str(saturating), out, precisions=["fp32"])
    quantize(out, scheme="int8-dynamic", settings={"weight_bits": 7})
    return out


@pytest.fixture
def int8_first_bundle(saturating_bundle: Path, seven_bit_bundle: Path, tmp_path: Path) -> Path:
    """A bundle without fp32 on the CPU: `int8` with weights of 8 bits comes first, then `int8-7bit`."""
    bundle = Path(shutil.copytree(saturating_bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / "edgeplm.json").read_bytes())
    canary = json.loads((bundle / "proof/canary.json").read_bytes())
    other = json.loads((seven_bit_bundle / "edgeplm.json").read_bytes())
    canary_other = json.loads((seven_bit_bundle / "proof/canary.json").read_bytes())
    assert canary["ids"] == canary_other["ids"]

    fp32, int8 = manifest["variants"]
    seven = next(v for v in other["variants"] if v["name"] == "int8-dynamic")
    graph, *weights = seven["files"]
    (bundle / "seven").mkdir()
    for name in (graph, *weights):
        shutil.copy(seven_bit_bundle / name, bundle / "seven")
        manifest["files"][f"seven/{Path(name).name}"] = {}
    seven |= {"name": "int8-7bit", "files": [f"seven/{Path(name).name}" for name in seven["files"]]}
    # Not called fp32 any more: that could prove itself on the CPU by its canary.
    manifest["variants"] = [fp32 | {"providers": ["CUDA"], "precision": "fp16"}, int8, seven]
    canary["variants"]["int8-7bit"] = canary_other["variants"]["int8-dynamic"]
    (bundle / "proof/canary.json").write_text(json.dumps(canary), encoding="utf-8")
    for name in manifest["files"]:
        data = (bundle / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    text = json.dumps(manifest).encode()
    (bundle / "edgeplm.json").write_bytes(sealed(text) or text)
    return bundle
