"""bf16-gptq: weights of bfloat16, rounded so that the calibration data's products change least, half of fp32's file.

A provider that computes in bfloat16 rounds the weights anyhow, each to its nearest neighbour; on MiniLM that is half of
what moves the answer. GPTQ halves it, and the sites whose rounding does most of the rest keep a second bfloat16, what
the first one left: x·W ≈ [x, x]·[W₁; W₂] in one product, summed in float32 (the splitting of Henry, Tang and Heinecke
2019, arXiv:1904.06376).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.gptq import Floats, gptq, hessians
from edgeplm_export.quantize.graph_edit import array_of, constant, insert, open_graph, put_instead, save_graph
from edgeplm_export.quantize.sites import Site, find_tables
from edgeplm_export.quantize.standard import standard_sites
from edgeplm_export.quantize.weight_harm import harm_of_weights, worst_weights


BLOCK = 128  # rows that GPTQ takes at once: for speed alone
# How much of the harm of all weights the second parts take away.
SHARES = {"half": 0.5, "quarter": 0.25, "none": 0.0, "all": 1.0}
BFLOAT16 = ir.DataType.BFLOAT16


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    model = open_graph(source)
    graph = model.graph
    sites = standard_sites(graph)
    share = SHARES[str(wish.settings["second"])]
    rounded = _rounded(model, sites, wish, target) if share < 1 else {}
    twice = _twice(model, rounded, share, wish, target) if share < 1 else {str(_weight(site).name) for site in sites}
    done = {}
    for site in sites:
        name = str(_weight(site).name)
        done[site.name] = "bfloat16 in two parts" if name in twice else "bfloat16 (GPTQ)"
        first = bfloat16(site.weight) if name in twice else rounded[name]
        _multiply(site, first, bfloat16(site.weight - first) if name in twice else None)
    for node in find_tables(graph):
        done[_look_up(node)] = "bfloat16 table"
    save_graph(model, target)
    return Made(sites=done)


def bfloat16(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Each value's nearest bfloat16, as float32; ties to even."""
    found: NDArray[np.float32] = values.astype(np.float32).astype(BFLOAT16.numpy()).astype(np.float32)
    return found


def _rounded(model: ir.Model, sites: list[Site], wish: Wish, target: Path) -> dict[str, NDArray[np.float32]]:
    """Each weight by its name, rounded to bfloat16; layers that share one (ALBERT) are rounded together."""
    work = target.with_name(f"{target.name}.observed")
    found = hessians(model, [str(site.source.name) for site in sites], wish, work)
    sums: dict[str, Floats] = {}
    weights, rounded = {}, {}
    for site in sites:
        name = str(_weight(site).name)
        sums[name] = sums[name] + found[str(site.source.name)] if name in sums else found[str(site.source.name)]
        weights[name] = site.weight
    for position, (name, weight) in enumerate(weights.items(), 1):
        wish.tell(f"GPTQ: {position} of {len(weights)}, {name}")
        rounded[name] = gptq(weight, sums[name], BLOCK, lambda part: bfloat16).astype(np.float32)
    return rounded


def _twice(
    model: ir.Model, rounded: dict[str, NDArray[np.float32]], share: float, wish: Wish, target: Path
) -> set[str]:
    """The names of the weights that keep a second part."""
    if not share:
        return set()
    harms = harm_of_weights(model, rounded, wish, target.with_name(f"{target.name}.harm"))
    return worst_weights(harms, {name: weight.size for name, weight in rounded.items()}, share)


def _multiply(site: Site, first: NDArray[np.float32], second: NDArray[np.float32] | None) -> None:
    node, graph, name = site.node, site.graph, str(_weight(site).name)
    source: ir.Value = site.source
    weight, label = first, f"{name}/bfloat16"
    if second is not None:
        (source,) = insert(node, "Concat", [source, source], name=f"{site.name}/twice", attributes={"axis": -1})
        weight, label = np.concatenate([first, second]), f"{name}/bfloat16/two"
    stored = _stored(graph, label, weight)
    (wide,) = insert(node, "Cast", [stored], name=f"{site.name}/wide", attributes={"to": ir.DataType.FLOAT})
    node.replace_input_with(0, source)
    node.replace_input_with(1, wide)


def _look_up(node: ir.Node) -> str:
    """Gather from the table in bfloat16 and widen the rows; gives the table's name."""
    graph, table, array = node.graph, node.inputs[0], array_of(node.inputs[0])
    assert isinstance(graph, ir.Graph)
    assert table is not None
    assert array is not None
    stored = _stored(graph, f"{table.name}/bfloat16/table", array)
    found = node.outputs[0].name  # two look-ups can share a table, and a node need not have a name
    (rows,) = insert(node, "Gather", [stored, node.inputs[1]], name=f"{found}/rows")
    put_instead(node, "Cast", [rows], {"to": ir.DataType.FLOAT})
    return str(table.name)


def _stored(graph: ir.Graph, name: str, array: NDArray[np.float32]) -> ir.Value:
    return constant(graph, name, array.astype(BFLOAT16.numpy()))


def _weight(site: Site) -> ir.Value:
    value = site.node.inputs[1]
    assert value is not None
    return value


SCHEME = Scheme(
    name="bf16-gptq",
    precision="bf16",
    suffix="_bf16_gptq",
    apply=_apply,
    optimized=False,
    calibrated=True,
    settings={"second": tuple(SHARES)},
    providers=("OpenVINO",),
    takes_high=False,
)
