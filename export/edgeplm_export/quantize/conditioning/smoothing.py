"""smoothing: x / s and s W with a factor for each channel.

SmoothQuant (Xiao et al. 2022, arXiv:2211.10438): s = max|x|^a / max|W|^(1-a) moves what stands out from the
activations into the weights. Where x comes from a LayerNormalization that nothing else reads, 1/s is folded into it;
elsewhere it costs one multiplication.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner
from edgeplm_export.quantize.graph_edit import OWN, array_of, constant, insert
from edgeplm_export.quantize.sites import Site


ALPHA = 0.5  # the paper's
SMALLEST = 1e-5
NANOSECONDS = 0.35  # a row and input, where no norm takes it in: benchmarks/conditioner_costs.py


def factors(rows: NDArray[np.float32], weight: NDArray[np.float32], alpha: float = ALPHA) -> NDArray[np.float32]:
    """s (K,) for x (rows, K) and W (K, N), with a geometric mean of 1."""
    reach = np.maximum(np.abs(rows).max(axis=0), SMALLEST)
    size = np.maximum(np.abs(weight).max(axis=1), SMALLEST)
    found = reach**alpha / size ** (1 - alpha)
    even: NDArray[np.float32] = (found / np.exp(np.log(found).mean())).astype(np.float32)
    return even


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned:
    weight = site.weight
    scales = factors(rows, weight)
    smoothed = weight * scales[:, None]
    return Conditioned(
        rows=rows / scales,
        weight=smoothed,
        build=partial(_build, site, scales, smoothed),
        words="smoothed",
    )


def _build(site: Site, scales: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    graph = site.graph
    name = f"{site.name}/smoothed"
    inverse = 1.0 / scales
    norm = site.source.producer()
    if norm is not None and norm.op_type == "LayerNormalization" and len(site.source.uses()) == 1:
        for position in range(1, len(norm.inputs)):
            old = array_of(norm.inputs[position])
            if old is not None:
                norm.replace_input_with(position, constant(graph, f"{OWN}{name}:norm{position}", old * inverse))
    else:
        (smoothed,) = insert(
            site.node, "Mul", [site.source, constant(graph, f"{OWN}{name}:by", inverse)], name=f"{name}:x"
        )
        site.node.replace_input_with(0, smoothed)
    site.node.replace_input_with(1, constant(graph, f"{OWN}{name}", weight))


CONDITIONER = Conditioner(name="smoothing", cost=lambda inputs, outputs: NANOSECONDS * inputs, condition=_condition)
