"""Do the answers of each variant hold on other CPUs, and what does the re-check at load cost here?

Needs qemu-user (apt-get install qemu-user). A Python of another architecture joins in when EDGEPLM_OTHER_PYTHON is a
command that starts it with the device side importable, for instance
`env PYTHONPATH=… qemu-aarch64 -L ROOT -cpu cortex-a72 ROOT/usr/bin/python3.11` (docs/other-cpus.md).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import HERE, WORK, assets, bundle_of, versions, write
from edgeplm.cli._output import console, table


# qemu's models: SSE4.2; AVX2 without VNNI, of two years. It emulates no AVX-512.
CPUS = ("Nehalem", "Haswell", "Skylake-Client")
MODELS = ("minilm-l6-sst2", "all-minilm-l6-v2")


def seven_bit_bundle(name: str, checkpoint: Path) -> Path:
    """The bundle of that checkpoint with int8 weights of 7 bits, made once."""
    out = WORK / "bundles" / f"{name}-7bit"
    if not (out / "edgeplm.json").is_file():
        from edgeplm_export.pipeline import export
        from edgeplm_export.quantizing import quantize

        export(str(checkpoint), out, precisions=["fp32"])
        quantize(out, scheme="int8-dynamic", settings={"weight_bits": 7})
    return out


def toy_bundle() -> tuple[Path, Path]:
    """A toy whose int8 products saturate, and its bundle, made once."""
    checkpoint, out = WORK / "saturating", WORK / "bundles" / "saturating"
    if not (out / "edgeplm.json").is_file():
        from edgeplm_export.pipeline import export
        from edgeplm_export.toys import make_toy, saturate

        export(str(saturate(make_toy(checkpoint, "bert"))), out, precisions=["fp32", "int8"])
    return checkpoint, out


def ask(command: Sequence[str], bundle: Path, *options: str, **environment: str) -> dict[str, Any]:
    """What that Python says of the bundle's canary."""
    script = HERE / "peers" / "edgeplm_canary.py"
    done = subprocess.run(
        [*command, str(script), str(bundle), *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed on {bundle}:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Ask every CPU about every bundle; print a table, write one JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--models", default=",".join(MODELS), help="real checkpoints, comma between; the toys always are"
    )
    parser.add_argument("--cpus", default=",".join(CPUS), help="of qemu's models, comma between")
    asked = parser.parse_args()
    cpus, models = asked.cpus.split(","), [name for name in asked.models.split(",") if name]
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None:
        sys.exit("this benchmark needs an emulator of other CPUs: apt-get install qemu-user")
    toy, saturating = toy_bundle()
    bundles = {"toy that saturates": saturating, "the same, 7 bits": seven_bit_bundle("saturating", toy)}
    for model in models:
        bundles[model] = bundle_of(model)
        bundles[f"{model}, 7 bits"] = seven_bit_bundle(model, assets() / "models" / model)
    found: dict[str, dict[str, Any]] = {}
    for name, bundle in bundles.items():
        print(f"asking about {name} …", file=sys.stderr)
        found[name] = {"here": ask([sys.executable], bundle)}
        for cpu in cpus:
            found[name][cpu] = ask([emulator, sys.executable], bundle, "--once", QEMU_CPU=cpu)
        if other := os.environ.get("EDGEPLM_OTHER_PYTHON"):
            found[name]["other python"] = ask(shlex.split(other), bundle, "--once")
    made = table("the canary on other CPUs", "bundle", "variant", "CPU", "max error", "cosine", "canary", "ms, here")
    for name, answers in found.items():
        for variant in answers["here"]["variants"]:
            for cpu, answer in answers.items():
                row = answer["variants"][variant]
                made.add_row(
                    name,
                    variant,
                    cpu,
                    f"{row['max_error']:.2g}",
                    f"{row['min_cosine']:.5f}",
                    "refused" if row["refused"] else "passed",
                    f"{row['median_ms']:.1f}" if cpu == "here" else "",
                )
    console().print(made)
    said = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=True).stdout
    write(
        "other_cpus", {"emulator": said.splitlines()[0], "versions": versions("onnxruntime", "numpy"), "bundles": found}
    )


if __name__ == "__main__":
    main()
