"""What does a conditioner add to an int8 product, in time? Every form of one site beside the plain one, in turns.

    python -m benchmarks.conditioner_costs           one site of each shape
    python -m benchmarks.conditioner_costs model     all-MiniLM-L6-v2 as int8-conditioned in two ways, and rotated

Of a site: nanoseconds a row (token) over the plain product; the constants of quantize/conditioning come from here. 4096
rows are a call of 32 × 128 tokens. Of the model: "first" takes the first of plain, outliers and rotation that rounds
about as well as the best, "cost" the cheapest of those by these constants.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from benchmarks._answers import answers, figures, rows_of
from benchmarks._common import WORK, bundle_of, in_turns, ratio, write
from edgeplm.cli._output import console, table
from edgeplm_export.feeding import feed
from edgeplm_export.graphs.store import store_optimized
from edgeplm_export.quantize import SCHEMES, Wish, activations
from edgeplm_export.quantize.conditioning import CONDITIONERS
from edgeplm_export.quantize.graph_edit import constant, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.machine import cores_usable


SHAPES = ((384, 384), (384, 1536), (1536, 384), (768, 3072), (3072, 768))
ROWS = (128, 4096)
TURNS = 10
MODEL, TEXTS, MODEL_TURNS = "all-minilm-l6-v2", 256, 20
COMPARED = ("plain", "smoothing", "outliers", "rotation")  # those of ONNX Runtime's CPU; others are fused elsewhere
CELLS = ((1, 16), (1, 128), (8, 32), (32, 128))


def main() -> None:
    """Print a table, write one JSON."""
    if sys.argv[1:] == ["model"]:
        _model()
    else:
        _sites()


def _model() -> None:
    bundle = open_bundle(bundle_of(MODEL, ("fp32",)))
    graph = bundle.root / bundle.variant("fp32").files[0]
    training = [row[0] for row in rows_of("stsb/en-train.tsv")]
    batches = feed(bundle, lambda: iter({"text": text} for text in training[:: len(training) // TEXTS]))
    test = rows_of("stsb/en-test.tsv")
    work = WORK / "conditioner_costs"
    work.mkdir(parents=True, exist_ok=True)
    wish = Wish(batches=batches, settings=SCHEMES["int8-conditioned"].defaults)
    real = dict(CONDITIONERS)
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    rows: dict[str, dict[str, Any]] = {}
    exact = answers(bundle, graph, test)
    for name, scheme in (("first", "int8-conditioned"), ("cost", "int8-conditioned"), ("rotated", "int8-rotated")):
        for path in work.glob("*.onnx*"):
            path.unlink()
        for place, known in enumerate(real.values()):
            by_place = replace(known, cost=partial(_place, place))
            CONDITIONERS[known.name] = by_place if name == "first" else known
        made = SCHEMES[scheme].apply(graph, work / "made.onnx", wish)
        store_optimized(work / "made.onnx", work / "stored.onnx")
        sessions[name] = _open(work / "stored.onnx")
        rows[name] = {
            "sites": made.sites,
            "bytes": sum(path.stat().st_size for path in work.glob("stored.onnx*")),
            "figures": figures(bundle, test, exact, answers(bundle, work / "stored.onnx", test)),
        }
    times = {}
    for batch, length in CELLS:
        ids = np.random.default_rng(0).integers(1000, 20000, (batch, length))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        wanted = {value.name: feeds[value.name] for value in sessions["first"].get_inputs()}
        calls = {name: partial(session.run, None, wanted) for name, session in sessions.items()}
        times[f"{batch}x{length}"] = in_turns(calls, turns=MODEL_TURNS if batch * length < 1000 else MODEL_TURNS // 2)
    made_table = table(f"{MODEL}: ms (× first)", "choice", *times, *rows["first"]["figures"], "MB")
    for name, row in rows.items():
        cells = [f"{statistics.median(ms[name]):.2f} (×{ratio(ms['first'], ms[name]):.2f})" for ms in times.values()]
        found = [f"{value:.5f}" for value in row["figures"].values()]
        made_table.add_row(name, *cells, *found, f"{row['bytes'] / 1e6:.1f}")
    console().print(made_table)
    write("conditioner_choice", {"model": MODEL, "rows": rows, "ms": times})


def _place(place: int, inputs: int, outputs: int) -> float:
    """The cost of a conditioner that is taken by its place in the table."""
    return float(place)


def _sites() -> None:
    random = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for inside, outside in SHAPES:
        for rows in ROWS:
            x = random.normal(size=(1, rows, inside)).astype(np.float32)
            sessions = {name: _session(name, x, outside) for name in COMPARED}
            calls = {name: partial(session.run, None, {"x": x}) for name, session in sessions.items()}
            samples = in_turns(calls, turns=TURNS)
            least = {name: min(taken) * 1e6 / rows for name, taken in samples.items()}
            added = {name: value - least["plain"] for name, value in least.items()}
            middle = {name: statistics.median(taken) * 1e6 / rows for name, taken in samples.items()}
            found.append(
                {"K": inside, "N": outside, "rows": rows, "added_ns": added, "least_ns": least, "median_ns": middle}
            )
    made = table(f"ns a row over the plain product, {cores_usable()} threads", "K", "N", "rows", "plain", *COMPARED[1:])
    for one in found:
        more = [f"+{one['added_ns'][name]:.0f}" for name in COMPARED[1:]]
        made.add_row(str(one["K"]), str(one["N"]), str(one["rows"]), f"{one['least_ns']['plain']:.0f}", *more)
    console().print(made)
    write("conditioner_costs", {"turns": TURNS, "rows": found})


def _session(name: str, x: np.ndarray, outside: int) -> onnxruntime.InferenceSession:
    """One product of x with a bias, in the form that the int8 schemes write."""
    random = np.random.default_rng(1)
    source = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, "rows", x.shape[2]]))
    graph = ir.Graph([source], [], nodes=[], opset_imports={"": 17}, name="site")
    weight = constant(graph, "w", random.normal(size=(x.shape[2], outside)).astype(np.float32))
    bias = constant(graph, "b", random.normal(size=outside).astype(np.float32))
    # A sum stands on both sides in a BERT, too: the norm's output is read twice, the product goes into a sum or a GELU.
    product = ir.node("MatMul", [source, weight], name="site/MatMul")
    whole = ir.node("Add", [product.outputs[0], bias], name="bias")
    end = ir.node("Identity", [whole.outputs[0]], name="end")
    end.outputs[0].name, end.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph.extend([product, whole, end])
    graph.outputs.append(end.outputs[0])
    (site,) = find_sites(graph)
    option = CONDITIONERS[name].condition(site, x[0, :64])
    assert option is not None
    option.build()
    (site,) = find_sites(graph)
    activations.multiply(site, activations.static(site, -4.0, 4.0), 8)
    with tempfile.TemporaryDirectory() as work:
        save_graph(ir.Model(graph, ir_version=10), Path(work, "made.onnx"))
        store_optimized(Path(work, "made.onnx"), Path(work, "stored.onnx"))
        return _open(Path(work, "stored.onnx"))


def _open(graph: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores_usable()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
