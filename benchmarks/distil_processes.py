"""Do two processes train the same student as one, on real data?

python -m benchmarks.distil_processes [STUDENT]      prints a table, writes distil_processes.json

The TREC-6 teacher's student, transformer:2x384 unless named, is learned by `edgeplm distil` in one process and by two
that `torchrun` starts and that share each batch; on two cores the two have one thread each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._common import assets, say, versions, write
from benchmarks.trec6_teacher import teacher
from edgeplm.cli._output import console, table


STUDENT = "transformer:2x384"
LAUNCHERS = {
    "one process": ("-m",),
    "two processes": ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"),
}


def main() -> None:
    """Train both ways, and compare."""
    student = sys.argv[1] if len(sys.argv) > 1 else STUDENT
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name, launcher in LAUNCHERS.items():
            say(f"{student}, {name}")
            found[name] = _learned(student, launcher, Path(place) / name.split()[0])
    made = table(f"TREC-6, {student}", "", "steps", "held-out loss", "accuracy", "95 %", "agrees", "seconds")
    for name, one in found.items():
        standing = one["standing"]
        made.add_row(
            name,
            str(one["learned"]["steps"]),
            f"{one['learned']['held_loss']:.4f}",
            f"{standing['quality']:.3f}",
            f"{standing['low']:.3f} to {standing['high']:.3f}",
            f"{standing['agreement']:.3f}",
            f"{one['seconds']:.0f}",
        )
    console().print(made)
    write("distil_processes", {"student": student, "found": found, "versions": versions("torch", "accelerate")})


def _learned(student: str, launcher: tuple[str, ...], out: Path) -> dict[str, Any]:
    data = assets() / "data" / "trec6"
    files = ("--train", str(data / "train.tsv"), "--eval", str(data / "test.tsv"), "--scheme", "none", "--json")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, *launcher, "edgeplm", "distil", str(teacher()), str(out), "--student", student, *files],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    document = json.loads(done.stdout)
    return {
        "seconds": time.monotonic() - start,
        "learned": document["learned"][0],
        "standing": {key: document["standings"][1][key] for key in ("quality", "low", "high", "agreement")},
    }


if __name__ == "__main__":
    main()
