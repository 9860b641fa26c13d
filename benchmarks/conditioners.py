"""Which conditioner does each kind of product need? One kind in static int8 at a time, all else in float32.

    python -m benchmarks.conditioners

Cosine of all-MiniLM-L6-v2's embeddings with its float32 graph's, 64 passages of WikiText-2; calibrated on others. The
second table is the choice of widths: blocks of a rotation for all products, channels in float32 for the down ones.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks._common import assets, bundle_of, write
from edgeplm.cli._output import console, table
from edgeplm_export.feeding import feed
from edgeplm_export.quantize import Feeds, Wish
from edgeplm_export.quantize.conditioning import CONDITIONERS, outliers, rotation
from edgeplm_export.quantize.harm import site_names
from edgeplm_export.quantize.int8 import make_int8
from edgeplm_runtime.bundle.reader import open_bundle


MODEL = "all-minilm-l6-v2"
OUTPUT = "sentence_embedding"
KINDS = {
    "queries, keys, values": lambda name: name.endswith("attention.self"),
    "attention output": lambda name: name.endswith("attention.output.dense"),
    "feed-forward up": lambda name: name.endswith("intermediate.dense"),
    "feed-forward down": lambda name: name.endswith("output.dense") and "attention" not in name,
}
# Inside Attention nothing can be added, and splitting needs a product right before.
IMPOSSIBLE = {
    "queries, keys, values": ("outliers", "suppression", "splitting"),
    "attention output": ("splitting",),
    "feed-forward up": ("splitting",),
}
PASSAGES, CALIBRATION = 64, 256
SHORTEST = 200  # characters of a passage
Batches = Callable[[], Iterator[Feeds]]


def main() -> None:
    """Print both tables and write one JSON."""
    bundle = open_bundle(bundle_of(MODEL, ("fp32",)))
    graph = bundle.root / bundle.variant("fp32").files[0]
    judged = feed(bundle, lambda: iter(_texts("valid.txt", PASSAGES)))
    calibration = feed(bundle, lambda: iter(_texts("test.txt", CALIBRATION)))
    exact = _answers(graph, judged)
    names = site_names(graph)
    rows: list[dict[str, Any]] = []

    def measure(what: str, conditioners: Sequence[str], chosen: Callable[[str], bool], memory: dict[Any, Any]) -> None:
        print(f"{what}: {', '.join(conditioners)}", file=sys.stderr)
        wish = Wish(batches=calibration, high=frozenset(n for n in names if not chosen(n)), memory=memory)
        with tempfile.TemporaryDirectory() as work:
            target = Path(work, "made.onnx")
            make_int8(graph, target, wish, conditioners=conditioners, ranges="mse")
            found = _answers(target, judged)
        cosine = (exact * found).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
        row = {"what": what, "conditioner": ", ".join(conditioners), "mean": cosine.mean(), "minimum": cosine.min()}
        rows.append({key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()})

    for kind, is_kind in KINDS.items():
        for conditioner in CONDITIONERS:
            if conditioner not in IMPOSSIBLE.get(kind, ()):
                measure(kind, [conditioner], is_kind, {})
    for choice in (["plain", "outliers", "rotation"], ["smoothing", "outliers", "rotation"], ["rotation"]):
        measure("all products", choice, lambda name: True, {})
    for rotation.BLOCK in (32, 64, 128):
        measure(f"all products, blocks of {rotation.BLOCK}", ["rotation"], lambda name: True, {})
    for outliers.CHANNELS in (1, 4, 8, 16):
        down = KINDS["feed-forward down"]
        measure(f"feed-forward down, {outliers.CHANNELS} channels", ["outliers"], down, {})
    made = table(MODEL, "int8", "conditioner", "mean cosine", "minimum")
    for row in rows:
        made.add_row(row["what"], row["conditioner"], f"{row['mean']:.5f}", f"{row['minimum']:.5f}")
    console().print(made)
    write("conditioners", {"model": MODEL, "passages": PASSAGES, "calibration": CALIBRATION, "rows": rows})


def _texts(name: str, count: int) -> list[dict[str, str]]:
    lines = (assets() / "data" / "wikitext2" / name).read_text(encoding="utf-8").splitlines()
    return [{"text": line.strip()} for line in lines if len(line) > SHORTEST][:count]


def _answers(graph: Path, batches: Batches) -> NDArray[np.float32]:
    """The embeddings of all passages, (passages, dim), in the order of the batches."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    rows: list[Any] = [session.run([OUTPUT], {name: one[name] for name in inputs})[0] for one in batches()]
    whole: NDArray[np.float32] = np.concatenate(rows)
    return whole


if __name__ == "__main__":
    main()
