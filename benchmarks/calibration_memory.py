"""Does calibration stay in flat memory? Peak memory of `quantize` for 1,000 and for 100,000 texts.

python -m benchmarks.calibration_memory
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks._common import WORK, assets, bundle_of, write


MODEL = "all-minilm-l6-v2"
COUNTS = (1_000, 100_000)
LIMIT_BYTES = 2 * 10**9
WORDS = 8  # of each text: what is measured is their count
CHILD = """
import sys
from edgeplm_export.quantizing import quantize
from edgeplm_runtime.machine import peak_rss_bytes
quantize(sys.argv[1], scheme="int8-static", calibration=sys.argv[2], progress=lambda m: print(m, file=sys.stderr))
print(peak_rss_bytes())
"""


def main() -> None:
    """Quantize with each count in a fresh process."""
    rows: list[dict[str, Any]] = []
    for count in COUNTS:
        work = WORK / "calibration" / str(count)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        shutil.copytree(bundle_of(MODEL, ("fp32",)), work / "bundle")
        texts = _texts(work, count)
        start = time.perf_counter()
        command = [sys.executable, "-c", CHILD, str(work / "bundle"), str(texts)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append({"texts": count, "peak_rss_bytes": int(done.stdout), "seconds": time.perf_counter() - start})
        print(rows[-1])
    write("calibration_memory", {"model": MODEL, "scheme": "int8-static", "rows": rows, "limit_bytes": LIMIT_BYTES})


def _texts(work: Path, count: int) -> Path:
    """So many short texts, all different."""
    lines = (assets() / "data" / "wikitext2" / "test.txt").read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines if len(line.split()) > WORDS]
    path = work / "texts.txt"
    with path.open("w", encoding="utf-8") as file:
        for number, line in enumerate(islice(cycle(words), count)):
            file.write(f"{number} {' '.join(line[:WORDS])}\n")
    return path


if __name__ == "__main__":
    main()
