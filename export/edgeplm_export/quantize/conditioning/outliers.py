"""outliers: the few channels that stand out are multiplied in float32, all others in int8.

LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339), with channels chosen once, from calibration data: in a BERT
they are the same ones for every text. The int8 weight has zeros in their rows, so the range need not cover them.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner
from edgeplm_export.quantize.graph_edit import OWN, bias_behind, constant, insert
from edgeplm_export.quantize.sites import Site


NANOSECONDS = 0.85  # a row and output, most of it the addition: benchmarks/conditioner_costs.py
CHANNELS = 8  # from 4 on MiniLM's cosine is the same, with 1 it is lower: benchmarks/conditioners.py


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned | None:
    if site.is_attention:  # its product has no place where another one could be added
        return None
    weight = site.weight.copy()
    chosen = np.sort(np.argsort(-np.abs(rows).max(axis=0))[:CHANNELS])
    kept = weight[chosen].copy()
    weight[chosen] = 0.0
    rest = rows.copy()
    rest[:, chosen] = 0.0
    return Conditioned(
        rows=rest,
        weight=weight,
        build=partial(_build, site, chosen, kept, weight),
        words=f"{len(chosen)} channels in float32",
    )


def _build(site: Site, chosen: NDArray[np.int64], kept: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    graph, node = site.graph, site.node
    name = f"{site.name}/outliers"
    (few,) = insert(
        node,
        "Gather",
        [site.source, constant(graph, f"{OWN}{name}:at", chosen)],
        name=f"{name}:x",
        attributes={"axis": -1},
    )
    (extra,) = insert(node, "MatMul", [few, constant(graph, f"{OWN}{name}:w", kept)], name=name)
    node.replace_input_with(1, constant(graph, f"{OWN}{name}:rest", weight))
    product, _ = bias_behind(node)  # behind the bias, so that the int8 product can take it in
    uses = [(use.node, use.idx) for use in product.uses()]
    after = uses[0][0]
    (whole,) = insert(after, "Add", [product, extra], name=f"{name}:sum")
    for user, position in uses:
        user.replace_input_with(position, whole)


CONDITIONER = Conditioner(name="outliers", cost=lambda inputs, outputs: NANOSECONDS * outputs, condition=_condition)
