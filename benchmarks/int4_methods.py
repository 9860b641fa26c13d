"""Which method rounds weights to int4 best: ours, or neural-compressor's GPTQ, AWQ and AutoRound?

    python -m benchmarks.int4_methods

All of them round the same products by blocks of 32 with a zero point, so that their files have the same size, and those
that calibrate see the same texts. The float32 numbers that the rounded weights stand for are put into the float32
graph: everything else, tables and activations, stays exact.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._answers import Floats, answers, figures, rows_of
from benchmarks._common import HERE, WORK, assets, bundle_of, environment, write
from edgeplm.cli._output import console, table
from edgeplm_export.bench.peers import TORCH
from edgeplm_export.feeding import feed
from edgeplm_export.quantize import SCHEMES, Wish
from edgeplm_export.quantize.graph_edit import OWN, array_of, constant, open_graph, save_graph
from edgeplm_export.quantize.sites import Site, find_sites
from edgeplm_runtime.bundle.reader import Bundle, open_bundle


PEER = (TORCH, ("neural-compressor[pt]==3.10", "auto-round==0.16.1", "transformers==5.23.0"))
OURS = ("int4-weights", "int4-hqq", "int4-kquant", "int4-gptq")
PEERS = ("GPTQ", "AWQ", "AutoRound")
DATA = {"all-minilm-l6-v2": "stsb/en-", "minilm-l6-sst2": "sst2/"}
BLOCK = 32
CALIBRATION = 64


def main() -> None:
    """Print a table for each model, write one JSON for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=DATA, default=list(DATA), nargs="*")
    for model in parser.parse_args().model:
        rows = compared(model, DATA[model])
        made = table(f"{model}: int4 weights alone", "method", *rows[0]["figures"], "s")
        for row in rows:
            figures = [f"{value:.5f}" for value in row["figures"].values()]
            made.add_row(row["method"], *(figures or [row["problem"]]), f"{row['seconds']:.0f}")
        console().print(made)
        write(f"int4_methods-{model}", {"block": BLOCK, "calibration": CALIBRATION, "peer": PEER, "rows": rows})


def compared(model: str, data: str) -> list[dict[str, Any]]:
    """A row for float32 and for each method."""
    bundle = open_bundle(bundle_of(model, ("fp32",)))
    graph = bundle.root / bundle.variant("fp32").files[0]
    training, test = rows_of(f"{data}train.tsv"), rows_of(f"{data}test.tsv")
    texts = [row[0] for row in training[:: len(training) // CALIBRATION][:CALIBRATION]]
    work = WORK / "int4" / model
    work.mkdir(parents=True, exist_ok=True)
    (work / "texts.json").write_text(json.dumps(texts))
    exact = answers(bundle, graph, test)
    rows = [{"method": "float32", "figures": figures(bundle, test, exact, exact), "seconds": 0.0, "problem": None}]
    for method in (*OURS, *PEERS):
        print(f"{model}: {method}", file=sys.stderr)
        start, problem, found = time.monotonic(), None, {}
        try:
            weights = ours(bundle, graph, method, texts, work) if method in OURS else theirs(model, method, work)
            seconds = time.monotonic() - start
            found = figures(bundle, test, exact, answers(bundle, filled(graph, weights, work), test))
        except subprocess.CalledProcessError as error:
            seconds, problem = time.monotonic() - start, error.stderr[-400:]
        name = f"EdgePLM {method}" if method in OURS else f"neural-compressor {method}"
        rows.append({"method": name, "figures": found, "seconds": seconds, "problem": problem})
    return rows


def ours(bundle: Bundle, graph: Path, method: str, texts: Sequence[str], work: Path) -> dict[str, Floats]:
    """The numbers that a scheme's MatMulNBits stand for, (K, N) by site."""
    target = work / "made.onnx"
    for path in work.glob("made.onnx*"):
        path.unlink()
    wish = Wish(batches=feed(bundle, lambda: iter({"text": text} for text in texts)), settings=SCHEMES[method].defaults)
    SCHEMES[method].apply(graph, target, wish)
    nodes = {node.name: node for node in open_graph(target).graph if node.op_type == "MatMulNBits"}
    found = {}
    for site in find_sites(open_graph(graph).graph):
        node = next(nodes[name] for name in (site.node.name, f"{site.node.name}_Q4") if name in nodes)
        packed, scales, zeros = (array_of(value) for value in node.inputs[1:4])
        assert packed is not None
        assert scales is not None
        columns, blocks = packed.shape[:2]
        whole = halves(packed).reshape(columns, blocks, BLOCK).astype(np.float32)
        assert zeros is not None
        whole_zeros = (
            halves(zeros.reshape(columns, -1))[:, :blocks] if zeros.dtype == np.uint8 else zeros
        )  # HQQ: float32
        middle = whole_zeros.reshape(columns, blocks, 1).astype(np.float32)
        found[site.name] = ((whole - middle) * scales.reshape(columns, blocks, 1)).reshape(columns, -1).T
    return found


def halves(packed: NDArray[Any]) -> NDArray[Any]:
    """Two numbers a byte, the lower half first: (..., n) as (..., 2 n)."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def theirs(model: str, method: str, work: Path) -> dict[str, Floats]:
    """The numbers of neural-compressor's weights, (K, N) by the name of the Linear."""
    python = environment("neural-compressor", *PEER)
    out = work / f"{method}.npz"
    script = HERE / "peers" / "neural_compressor_weights.py"
    command = [str(python), str(script), method, str(assets() / "models" / model), str(work / "texts.json"), str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    with np.load(out) as stored:
        return {name: weight.T for name, weight in stored.items()}


def filled(graph: Path, weights: dict[str, Floats], work: Path) -> Path:
    """The float32 graph with these weights in the places of its own."""
    model = open_graph(graph)
    for site in find_sites(model.graph):
        weight = weights[site.name] if site.name in weights else merged(site, weights)
        assert weight.shape == site.weight.shape
        site.node.replace_input_with(1, constant(model.graph, f"{OWN}{site.name}/filled", weight))
    save_graph(model, work / "filled.onnx")
    return work / "filled.onnx"


def merged(site: Site, weights: dict[str, Floats]) -> Floats:
    """A site's weight (K, N) from Linears; an attention's queries, keys and values side by side."""
    parts = [f"{site.name}.{part}" for part in ("query", "key", "value")] if site.is_attention else [site.name]
    found = [next(weight for name, weight in weights.items() if part.endswith(name)) for part in parts]
    return np.concatenate(found, axis=1)


if __name__ == "__main__":
    main()
