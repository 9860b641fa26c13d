"""What does each provider really run in int8 of a graph with QuantizeLinear and DequantizeLinear pairs?

    python -m benchmarks.qdq_fusion --graph int8-qdq=BUNDLE/onnx/model_int8_qdq.onnx --cell 8x32
    python -m benchmarks.qdq_fusion --graph "NNCF PTQ=model.xml"

Counted from what each says of itself: ONNX Runtime's profile (CPU), OpenVINO's execution graph with its profiling
(native, float32 and bf16 for what is not int8), and which nodes the OpenVINO plugin takes. NNCF's own form of the model
(benchmarks/precisions.py makes it) can be counted beside ours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._candidates import ENVIRONMENTS
from benchmarks._common import ROOT, environment, write
from benchmarks.profile_graph import profile
from edgeplm.cli._output import console, table
from edgeplm_runtime.machine import cores_usable


HINTS = ("f32", "bf16")  # OpenVINO's inference precision: of what is not int8
# OpenVINO's types of nodes that multiply matrices; the Subgraph is an attention: two products and the softmax.
PRODUCTS = ("FullyConnected", "MatMul", "Subgraph")
EIGHT_BITS = ("i8", "u8")
SMALLEST_SHARE = 0.005


def main() -> None:
    """Count in every provider; print a table for each, write one JSON."""
    asked = _arguments()
    batch, length = map(int, asked.cell.split("x"))
    document: dict[str, Any] = {"cell": asked.cell}
    for text in asked.graph:
        name, _, path = text.rpartition("=")
        graph = Path(path).resolve()
        found: dict[str, Any] = {}
        for hint in HINTS:
            job = {"graph": str(graph), "hint": hint, "batch": batch, "length": length, "output": asked.output}
            rows = _ask("openvino", "openvino_nodes", job)
            found[f"OpenVINO {hint}"] = {"summary": summary(rows), "nodes": rows}
        if graph.suffix == ".onnx":
            found["OpenVINO plugin on ONNX Runtime"] = _ask("openvino-ep", "openvino_ep_nodes", {"graph": str(graph)})
            operators = profile(graph, (batch, length), calls=10, optimize=True)
            found["ONNX Runtime CPU"] = {
                one.name: {"nodes": one.nodes, "in int8": one.int8_nodes, "ms": one.ms} for one in operators
            }
        document[name or graph.name] = found
        _print(name or graph.name, found)
    write(f"qdq_fusion-{asked.name}" if asked.name else "qdq_fusion", document)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.qdq_fusion", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--graph", action="append", required=True, help="NAME=FILE, .onnx or OpenVINO's .xml; repeat")
    parser.add_argument("--cell", default="8x32", help="batch x tokens")
    parser.add_argument("--output", default="token_embeddings", help="the output that is asked of OpenVINO")
    parser.add_argument("--name", default="", help="of the result, after qdq_fusion-")
    return parser.parse_args()


def _ask(peer: str, module: str, job: dict[str, Any]) -> Any:
    """The JSON that a peer's module prints, in the peer's own environment."""
    done = subprocess.run(
        [
            str(environment(peer, *ENVIRONMENTS[peer])),
            "-m",
            f"benchmarks.peers.{module}",
            json.dumps({**job, "threads": cores_usable()}),
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'runtime'}"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{module} ended with {done.returncode}; its words stand above")
    return json.loads(done.stdout.splitlines()[-1])


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of OpenVINO's nodes: products by precision, nodes that only convert, and the share of time in int8 nodes."""
    products: dict[str, int] = {}
    for row in rows:
        if row["type"] in PRODUCTS:
            key = f"{row['type']} {row['precision']}"
            products[key] = products.get(key, 0) + row["nodes"]
    total = sum(row["ms"] for row in rows)
    eight = sum(row["ms"] for row in rows if row["precision"] in EIGHT_BITS)
    return {
        "products": products,
        "alone to int8": sum(row["nodes"] for row in rows if row["type"] == "FakeQuantize"),
        "conversions": sum(row["nodes"] for row in rows if row["type"] in ("Convert", "Reorder")),
        "ms": total,
        "share in int8": eight / total if total else 0.0,
    }


def _print(name: str, found: dict[str, Any]) -> None:
    for provider, told in found.items():
        if "summary" in told:
            total = told["summary"]["ms"] or 1.0
            made = table(f"{name}, {provider}", "node", "reads", "gives", "kernel", "nodes", "ms", "share")
            for row in told["nodes"]:
                if row["ms"] / total >= SMALLEST_SHARE:
                    share = f"{row['ms'] / total:.1%}"
                    cells = (row["type"], row["precision"], row["gives"], row["kernel"], str(row["nodes"]))
                    made.add_row(*cells, f"{row['ms']:.2f}", share)
            console().print(made)
            console().print(json.dumps(told["summary"]), markup=False)
        else:
            console().print(f"{name}, {provider}: {json.dumps(told)}", markup=False)


if __name__ == "__main__":
    main()
