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
from edgeplm_export.quantize.graph_edit import OWN, array_of, bias_behind, constant, insert
from edgeplm_export.quantize.ranges import scale_and_zero_point
from edgeplm_export.quantize.sites import Site
from edgeplm_export.quantize.weights import per_column


# Of the largest reach of a channel; on MiniLM's products the best one lies between .15 and .5.
LIMITS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8)
SMALLEST = 1e-5


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned | None:
    if site.is_attention:  # its bias stands inside the operator
        return None
    weight = site.weight
    middle = ((rows.min(axis=0) + rows.max(axis=0)) / 2).astype(np.float32)
    centred = rows - middle
    reach = np.maximum(np.abs(centred).max(axis=0), SMALLEST)
    tried = [np.maximum(1.0, reach / (limit * reach.max())).astype(np.float32) for limit in LIMITS]
    scales = min(tried, key=lambda each: rounding_error(centred / each, weight * each[:, None]))
    return Conditioned(
        rows=centred / scales,
        weight=weight * scales[:, None],
        build=partial(_build, site, middle, scales, weight),
        words="outliers suppressed",
    )


def rounding_error(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """The squared error of the product with both sides rounded, one scale for x and one a column of W."""
    scale, zero = scale_and_zero_point(min(float(rows.min()), 0.0), max(float(rows.max()), 0.0))
    rounded = (np.clip(np.rint(rows / scale) + np.float32(zero), 0, 255) - np.float32(zero)) * scale
    integers, scales = per_column(weight)
    return float(((rounded @ (integers * scales) - rows @ weight) ** 2).sum())


def _build(site: Site, middle: NDArray[np.float32], scales: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    graph, node, name = site.graph, site.node, f"{site.name}/suppressed"
    by = constant(graph, f"{OWN}{name}:by", 1.0 / scales)
    (scaled,) = insert(node, "Mul", [site.source, by], name=f"{name}:scaled")
    (moved,) = insert(node, "Add", [scaled, constant(graph, f"{OWN}{name}:to", -middle / scales)], name=f"{name}:x")
    node.replace_input_with(0, moved)
    node.replace_input_with(1, constant(graph, f"{OWN}{name}:w", weight * scales[:, None]))
    _add_to_bias(site, middle @ weight, f"{OWN}{name}:bias")


def _add_to_bias(site: Site, more: NDArray[np.float32], name: str) -> None:
    """Add a constant (N,) to what the product gives: into its bias, or as one."""
    product, bias = bias_behind(site.node)
    old = array_of(bias)
    if old is None:
        uses = [(use.node, use.idx) for use in product.uses()]
        (whole,) = insert(uses[0][0], "Add", [product, constant(site.graph, name, more)], name=f"{site.name}/offset")
        for user, position in uses:
            user.replace_input_with(position, whole)
        return
    add = product.producer()
    assert add is not None
    position = next(place for place, value in enumerate(add.inputs) if value is bias)
    add.replace_input_with(position, constant(site.graph, name, old + more))


CONDITIONER = Conditioner(name="suppression", cost=1, condition=_condition)
