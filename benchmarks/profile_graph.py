"""Where does the time of a graph go? The share of each type of operator at a cell, and which nodes ran in int8.

    python -m benchmarks.profile_graph BUNDLE --variant int8 --cell 32x128
    python -m benchmarks.profile_graph model.onnx --cell 1x128

Without a bundle: that of the demo model, every variant. ONNX Runtime's own profiler, which itself costs a little at
each node: small nodes look larger than they are. A graph file of another tool is opened with all optimizations.
"""

from __future__ import annotations

import os


os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import

import argparse
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks._common import WORK, bundle_of, write
from edgeplm.cli._output import console, table
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.machine import cores_usable


WARM_UP = 3
SMALLEST_SHARE = 0.005  # below it, operators share one line
EIGHT_BITS = ("uint8", "int8")


@dataclass(frozen=True, kw_only=True)
class Operator:
    """All nodes of one type: their share of the nodes' time, how many there are, and how many read 8-bit values."""

    name: str
    share: float
    ms: float
    nodes: int
    int8_nodes: int


def main() -> None:
    """Profile each graph that is asked for; print a table for each, write one JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile_graph", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("path", nargs="?", type=Path, help="a bundle or an .onnx file")
    parser.add_argument("--variant", help="of the bundle; default: each of them")
    parser.add_argument("--cell", default="32x128", help="batch x tokens")
    parser.add_argument("--calls", type=int, default=10)
    asked = parser.parse_args()
    batch, length = map(int, asked.cell.split("x"))
    document: dict[str, Any] = {"cell": asked.cell, "calls": asked.calls}
    for name, graph, optimized in _graphs(asked.path or bundle_of("all-minilm-l6-v2"), asked.variant):
        operators = profile(graph, (batch, length), calls=asked.calls, optimize=not optimized)
        total = sum(one.ms for one in operators)
        made = table(f"{name}, {asked.cell}: {total:.2f} ms in nodes", "operator", "share", "ms", "nodes", "in int8")
        for one in operators:
            if one.share >= SMALLEST_SHARE:
                made.add_row(one.name, f"{one.share:.1%}", f"{one.ms:.2f}", str(one.nodes), str(one.int8_nodes or ""))
        small = [one for one in operators if one.share < SMALLEST_SHARE]
        sums = (sum(one.share for one in small), sum(one.ms for one in small), sum(one.nodes for one in small))
        made.add_row(f"{len(small)} others", f"{sums[0]:.1%}", f"{sums[1]:.2f}", str(sums[2]), "")
        console().print(made)
        eight, share = sum(one.int8_nodes for one in operators), _int8_share(operators)
        console().print(
            f"{eight} of {sum(one.nodes for one in operators)} nodes read int8 values: {share:.0%} of the time"
        )
        document[name] = [asdict(one) for one in operators]
    write(f"profile-{asked.cell}", document)


def _graphs(path: Path, variant: str | None) -> list[tuple[str, Path, bool]]:
    """(name, file, stored already optimized)"""
    if path.suffix == ".onnx":
        return [(path.name, path, False)]
    bundle = open_bundle(path)
    wanted = [bundle.variant(variant)] if variant else list(bundle.manifest.variants)
    return [(one.name, bundle.path(one.files[0]), one.optimized) for one in wanted]


def profile(graph: Path, cell: tuple[int, int], *, calls: int, optimize: bool) -> list[Operator]:
    """Operators by the time that their nodes take a call, longest first; opened as the engine opens the graph."""
    WORK.mkdir(parents=True, exist_ok=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores_usable()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(WORK / "profile")
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(1000, 20000, cell)
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    feeds = {i.name: values[i.name] for i in session.get_inputs()}
    for _ in range(WARM_UP + calls):
        session.run(None, feeds)
    written = Path(session.end_profiling())
    events = json.loads(written.read_text(encoding="utf-8"))
    written.unlink()
    return _operators(events, calls)


def _operators(events: list[dict[str, Any]], calls: int) -> list[Operator]:
    """Sums of the profiler's events, those of the warm-up left out: a node has one event for each call, in order."""
    seen: Counter[str] = Counter()
    microseconds: Counter[str] = Counter()
    nodes: dict[str, set[str]] = {}
    eight: dict[str, set[str]] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        name, kind = event["name"], event["args"]["op_name"]
        seen[name] += 1
        if seen[name] <= WARM_UP:
            continue
        microseconds[kind] += event["dur"]
        nodes.setdefault(kind, set()).add(name)
        types = {one for shape in event["args"].get("input_type_shape", ()) for one in shape}
        if types & set(EIGHT_BITS):
            eight.setdefault(kind, set()).add(name)
    total = sum(microseconds.values())
    return [
        Operator(
            name=kind,
            share=spent / total,
            ms=spent / 1e3 / calls,
            nodes=len(nodes[kind]),
            int8_nodes=len(eight.get(kind, ())),
        )
        for kind, spent in microseconds.most_common()
    ]


def _int8_share(operators: list[Operator]) -> float:
    return sum(one.share * one.int8_nodes / one.nodes for one in operators)


if __name__ == "__main__":
    main()
