"""splitting: a channel that stands out becomes several of the same, each with its share of the weight, divided by s.

Outlier channel splitting (Zhao et al. 2019, arXiv:1901.09504) and a bounded SmoothQuant: dividing x by s moves an outlier
into the weight, and the copies keep the weight's own range. The copies come for free where x is a function, element by
element, of a product before: that one gets more columns. So it fits the wide inner layer of a feed-forward block.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner
from edgeplm_export.quantize.graph_edit import OWN, array_of, constant, insert
from edgeplm_export.quantize.ranges import scale_and_zero_point
from edgeplm_export.quantize.sites import Site
from edgeplm_export.quantize.weights import per_column


COPIES = 32  # more columns: 2 % of MiniLM's 1,536; twice as many round no better
LIMITS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)  # of the largest channel's reach
SMALLEST = 1e-5
LONGEST_CONE = 12  # nodes of a GELU written out: seven
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Relu", "Sigmoid")


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned | None:
    before = _product_before(site)
    if before is None:
        return None
    weight = site.weight
    reach = np.maximum(np.abs(rows).max(axis=0), SMALLEST)
    found = [_split(rows, weight, reach, limit) for limit in LIMITS]
    scales, at, shares = min(found, key=lambda split: _rounding_error(rows, weight, *split))
    widened = (weight * scales[:, None])[at] / shares[:, None]
    return Conditioned(
        rows=(rows / scales)[:, at],
        weight=widened,
        build=partial(_build, site, scales[at], at, widened),
        words=f"{len(set(at[shares > 1].tolist()))} channels split, {len(at) - len(scales)} more",
    )


Split = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]


def _split(rows: NDArray[np.float32], weight: NDArray[np.float32], reach: NDArray[np.float32], limit: float) -> Split:
    """Scales (K,), which channel each column of the new x is (K + COPIES,), and into how many it was split."""
    scales = np.maximum(1.0, reach / (limit * reach.max())).astype(np.float32)
    size = np.abs(weight).max(axis=1) * scales
    copies = np.ones(len(scales), dtype=np.int64)
    for _ in range(COPIES):
        copies[np.argmax(size / copies)] += 1
    at = np.repeat(np.arange(len(scales)), copies)
    return scales, at, copies[at].astype(np.float32)


def _rounding_error(
    rows: NDArray[np.float32],
    weight: NDArray[np.float32],
    scales: NDArray[np.float32],
    at: NDArray[np.int64],
    shares: NDArray[np.float32],
) -> float:
    x, w = (rows / scales)[:, at], (weight * scales[:, None])[at] / shares[:, None]
    scale, zero = scale_and_zero_point(min(float(x.min()), 0.0), max(float(x.max()), 0.0))
    rounded = (np.clip(np.rint(x / scale) + np.float32(zero), 0, 255) - np.float32(zero)) * scale
    integers, columns = per_column(w)
    return float(((rounded @ (integers * columns) - rows @ weight) ** 2).sum())


def _product_before(site: Site) -> ir.Node | None:
    """The MatMul with a constant weight that x is an elementwise function of, with constants (K,) or numbers; or None.

    Nothing but that function and the site may read what lies between.
    """
    seen: set[ir.Node] = set()
    waiting, product = [site.source], None
    while waiting:
        node = waiting.pop().producer()
        if node is None or node in seen:
            if node is None:
                return None
            continue
        seen.add(node)
        if node.op_type == "MatMul" and (product is None or product is node):
            product = node
            continue
        if node.op_type not in ELEMENTWISE or len(seen) > LONGEST_CONE:
            return None
        waiting += [value for value in node.inputs if value is not None and value.const_value is None]
    if product is None or array_of(product.inputs[1]) is None:
        return None
    inside = seen | {site.node}
    read = all(use.node in inside for node in seen for value in node.outputs for use in value.uses())
    outputs = set(site.graph.outputs)  # value.is_graph_output() still says yes of what calibration looked at
    leaves = any(value in outputs for node in seen for value in node.outputs)
    return product if read and not leaves else None


def _build(site: Site, scales: NDArray[np.float32], at: NDArray[np.int64], weight: NDArray[np.float32]) -> None:
    graph, node, name = site.graph, site.node, f"{site.name}/split"
    before = _product_before(site)
    assert before is not None
    wide = array_of(before.inputs[1])
    assert wide is not None
    before.replace_input_with(1, constant(graph, f"{OWN}{name}:columns", wide[:, at]))
    _widen_constants(before.outputs[0], node, at, name)
    (scaled,) = insert(node, "Mul", [site.source, constant(graph, f"{OWN}{name}:by", 1.0 / scales)], name=f"{name}:x")
    node.replace_input_with(0, scaled)
    node.replace_input_with(1, constant(graph, f"{OWN}{name}:w", weight))


def _widen_constants(value: ir.Value, end: ir.Node, at: NDArray[np.int64], name: str) -> None:
    """Give every constant of a value a channel that is met between the product and the site its copies."""
    waiting, seen = [value], set()
    while waiting:
        for use in waiting.pop().uses():
            if use.node is end or use.node in seen:
                continue
            seen.add(use.node)
            for position, other in enumerate(use.node.inputs):
                held = array_of(other)
                if held is not None and held.size > 1:
                    copied = constant(use.node.graph, f"{OWN}{name}:constant{len(seen)}", held[..., at])
                    use.node.replace_input_with(position, copied)
            waiting += use.node.outputs


CONDITIONER = Conditioner(name="splitting", cost=1, condition=_condition)
