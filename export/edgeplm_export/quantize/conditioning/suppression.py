"""suppression: (x - z) / s and s W, with z W added to the bias, for each channel.

Outlier Suppression+ (Wei et al. 2023, arXiv:2304.09145): z is the middle of the channel's range, since what stands out
behind a LayerNormalization lies on one side; s is 1 but where what is left reaches beyond a limit, which is scanned for
the smallest error of the product. One multiplication and one addition, which OpenVINO takes into the pass that rounds.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner
from edgeplm_export.quantize.graph_edit import OWN, add_to_bias, constant, insert, takes_bias
from edgeplm_export.quantize.rounding import squared_offset
from edgeplm_export.quantize.sites import Site


# Of the largest reach of a channel; on MiniLM's products the best one lies between .15 and .5.
LIMITS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8)
SMALLEST = 1e-5


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned | None:
    if site.is_attention or not takes_bias(site.node):  # an attention's bias stands inside the operator
        return None
    weight = site.weight
    middle = ((rows.min(axis=0) + rows.max(axis=0)) / 2).astype(np.float32)
    centred = rows - middle
    reach = np.maximum(np.abs(centred).max(axis=0), SMALLEST)
    tried = [np.maximum(1.0, reach / (limit * reach.max())).astype(np.float32) for limit in LIMITS]
    scales = min(tried, key=lambda each: squared_offset(centred / each, weight * each[:, None]))
    return Conditioned(
        rows=centred / scales,
        weight=weight * scales[:, None],
        build=partial(_build, site, middle, scales, weight),
        words="outliers suppressed",
    )


def _build(site: Site, middle: NDArray[np.float32], scales: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    graph, node, name = site.graph, site.node, f"{site.name}/suppressed"
    by = constant(graph, f"{OWN}{name}:by", 1.0 / scales)
    (scaled,) = insert(node, "Mul", [site.source, by], name=f"{name}:scaled")
    (moved,) = insert(node, "Add", [scaled, constant(graph, f"{OWN}{name}:to", -middle / scales)], name=f"{name}:x")
    node.replace_input_with(0, moved)
    node.replace_input_with(1, constant(graph, f"{OWN}{name}:w", weight * scales[:, None]))
    add_to_bias(node, middle @ weight, name)


# OpenVINO, for which it was written, takes it into the pass that rounds.
CONDITIONER = Conditioner(name="suppression", cost=lambda inputs, outputs: 0.0, condition=_condition)
