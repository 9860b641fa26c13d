"""splitting: a channel that stands out becomes several, each divided by s and with its share of the weight.

Outlier channel splitting (Zhao et al. 2019, arXiv:1901.09504) and a bounded SmoothQuant: dividing x by s moves an
outlier into the weight, and the copies keep the weight's own range small. The copies come for free where x is a
function, element by element, of a product before: that one gets more columns. So it fits the wide inner layer of a
feed-forward block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner
from edgeplm_export.quantize.graph_edit import OWN, add_to_bias, array_of, constant, insert, takes_bias
from edgeplm_export.quantize.ranges import LEVELS
from edgeplm_export.quantize.rounding import squared_offset
from edgeplm_export.quantize.sites import Site


COPIES = 32  # more columns: 2 % of MiniLM's 1,536; twice as many round no better
LIMITS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)  # of the largest channel's reach
SMALLEST = 1e-5
LONGEST_CONE = 12  # nodes; a GELU in standard operators has up to nine
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Relu", "Sigmoid", "Gelu", "BiasGelu", "FastGelu")


@dataclass(frozen=True, kw_only=True)
class Split:
    """K channels as K' = K + COPIES columns, sorted by channel.

    `at` (K',) is the channel of each; `scales` (K',) what it is divided by; `moved` (K',) what is then added, an even
    part of a rounding step for each copy, so that the copies round differently and their sum more finely. `rows` (rows,
    K') and `weight` (K', N) are what comes of it, `channels` how many were split.
    """

    at: NDArray[np.int64]
    scales: NDArray[np.float32]
    moved: NDArray[np.float32]
    rows: NDArray[np.float32]
    weight: NDArray[np.float32]
    channels: int


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned | None:
    if _product_before(site) is None or not takes_bias(site.node):
        return None
    weight = site.weight
    reach = np.maximum(np.abs(rows).max(axis=0), SMALLEST)
    tried = [_split(rows, weight, reach, limit) for limit in LIMITS]
    best = min(tried, key=lambda split: squared_offset(split.rows, split.weight))
    return Conditioned(
        rows=best.rows,
        weight=best.weight,
        build=partial(_build, site, best),
        words=f"{best.channels} channels split, {COPIES} columns more",
    )


def _split(rows: NDArray[np.float32], weight: NDArray[np.float32], reach: NDArray[np.float32], limit: float) -> Split:
    """Divide what reaches beyond the limit, then split the channels whose weights became the largest by it."""
    scales = np.maximum(1.0, reach / (limit * reach.max())).astype(np.float32)
    size = np.abs(weight).max(axis=1) * scales
    copies = np.ones(len(scales), dtype=np.int64)
    for _ in range(COPIES):
        copies[np.argmax(size / copies)] += 1
    at = np.repeat(np.arange(len(scales)), copies)
    shares = copies[at].astype(np.float32)
    scaled = rows / scales
    step = (scaled.max(initial=0.0) - scaled.min(initial=0.0)) / LEVELS
    nth = np.arange(len(at)) - np.searchsorted(at, at)
    moved = (((nth + 0.5) / shares - 0.5) * step).astype(np.float32)
    return Split(
        at=at,
        scales=scales[at],
        moved=moved,
        rows=scaled[:, at] + moved,
        weight=(weight * scales[:, None])[at] / shares[:, None],
        channels=int((copies > 1).sum()),
    )


def _product_before(site: Site) -> ir.Node | None:
    """The MatMul with a constant weight that x is an elementwise function of, with constants (K,) or numbers; or None.

    Nothing but that function and the site may read what lies between.
    """
    seen: set[ir.Node] = set()
    waiting, product = [site.source], None
    while waiting:
        node = waiting.pop().producer()
        if node in seen:
            continue
        if node is None or len(seen) > LONGEST_CONE:
            return None
        seen.add(node)
        if node.op_type == "MatMul" and product is None:
            product = node
        elif node.op_type in ELEMENTWISE:
            waiting += [value for value in node.inputs if value is not None and value.const_value is None]
        else:
            return None
    if product is None or array_of(product.inputs[1]) is None:
        return None
    inside = seen | {site.node}
    read = all(use.node in inside for node in seen for value in node.outputs for use in value.uses())
    leaves = any(value.is_graph_output() for node in seen for value in node.outputs)
    return product if read and not leaves else None


def _build(site: Site, split: Split) -> None:
    graph, node, name = site.graph, site.node, f"{site.name}/split"
    before = _product_before(site)
    assert before is not None
    wide = array_of(before.inputs[1])
    assert wide is not None
    before.replace_input_with(1, constant(graph, f"{OWN}{name}:columns", wide[:, split.at]))
    _widen_constants(site, before.outputs[0], split.at)
    by = constant(graph, f"{OWN}{name}:by", 1.0 / split.scales)
    (scaled,) = insert(node, "Mul", [site.source, by], name=f"{name}:scaled")
    (moved,) = insert(node, "Add", [scaled, constant(graph, f"{OWN}{name}:to", split.moved)], name=f"{name}:x")
    node.replace_input_with(0, moved)
    node.replace_input_with(1, constant(graph, f"{OWN}{name}:w", split.weight))
    add_to_bias(node, -(split.moved @ split.weight), name)


def _widen_constants(site: Site, value: ir.Value, at: NDArray[np.int64]) -> None:
    """Give every constant of a value a channel that is met from the product's value up to the site its copies."""
    waiting, seen = [value], set()
    while waiting:
        for use in waiting.pop().uses():
            if use.node is site.node or use.node in seen:
                continue
            seen.add(use.node)
            for position, other in enumerate(use.node.inputs):
                held = array_of(other)
                if held is not None and held.size > 1:
                    copied = constant(site.graph, f"{OWN}{site.name}/split:constant{len(seen)}", held[..., at])
                    use.node.replace_input_with(position, copied)
            waiting += use.node.outputs


# OpenVINO, for which it was written, takes it into the pass that rounds.
CONDITIONER = Conditioner(name="splitting", cost=lambda inputs, outputs: 0.0, condition=_condition)
