"""What OpenVINO made of a graph: every node that it runs, with its precision, its kernel and its time.

python -m benchmarks.peers.openvino_nodes '{"graph": …, "hint": "f32", "batch": 8, "length": 32, "output": …}'
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-not-found]

from edgeplm_runtime.benchmark.protocol import feeds_of


WARM_UP, CALLS = 3, 10


def main() -> None:
    """Print one JSON list: a row for each kind of node that is no constant."""
    asked = json.loads(sys.argv[1])
    model = ov.Core().read_model(asked["graph"])
    wanted = [port for port in model.outputs if asked["output"] in port.get_names()]
    model = ov.Model(wanted or model.outputs[:1], model.get_parameters())
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": asked["hint"],
        "INFERENCE_NUM_THREADS": asked["threads"],
        "PERF_COUNT": "YES",
    }
    compiled = ov.Core().compile_model(model, "CPU", config)
    request = compiled.create_infer_request()
    ids = np.random.default_rng(0).integers(1000, 20000, (asked["batch"], asked["length"]))
    feeds = {
        name: value
        for name, value in feeds_of(ids).items()
        if any(name in port.get_names() for port in compiled.inputs)
    }
    spent: Counter[str] = Counter()
    for call in range(WARM_UP + CALLS):
        request.infer(feeds)
        if call >= WARM_UP:
            for one in request.profiling_info:
                spent[one.node_name] += one.real_time.total_seconds() * 1e3 / CALLS
    print(json.dumps(_rows(compiled.get_runtime_model(), spent)))


def _rows(executed: Any, spent: Counter[str]) -> list[dict[str, Any]]:
    kinds: dict[tuple[str, ...], dict[str, Any]] = {}
    for node in executed.get_ordered_ops():
        told = node.get_rt_info()
        words = [
            str(told[key].astype(str)) if key in told else ""
            for key in ("layerType", "runtimePrecision", "primitiveType", "outputPrecisions")
        ]
        if words[0] == "Const":
            continue
        row = kinds.setdefault(
            tuple(words),
            {"type": words[0], "precision": words[1], "kernel": words[2], "gives": words[3], "nodes": 0, "ms": 0.0},
        )
        row["nodes"] += 1
        row["ms"] += spent.get(node.get_friendly_name(), 0.0)
    return sorted(kinds.values(), key=lambda row: -row["ms"])


if __name__ == "__main__":
    main()
