"""rotation: x H and Hᵀ W with a block-Hadamard H: a channel that stands out is spread over its whole block.

QuaRot (Ashkboos et al. 2024, arXiv:2404.00456) and QuIP# use such rotations; here one small product before the
quantizer turns x, and Hᵀ is folded into the weight. A BERT's LayerNorm stands on the residual path, so that the
rotation cannot be folded into the layer before.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner
from edgeplm_export.quantize.graph_edit import OWN, constant, insert, made
from edgeplm_export.quantize.sites import Site


# Wider blocks round better and cost more: MiniLM's cosine with 32, 64, 128 is .99922, .99940, .99947
# (benchmarks/conditioners.py).
BLOCK = 64
SMALLEST_BLOCK = 8
SMALL_SHARE = 1 / 20  # of the product's work
NANOSECONDS = 0.75  # a row and input: benchmarks/conditioner_costs.py


def hadamard(size: int) -> NDArray[np.float32]:
    """The orthogonal Hadamard matrix (size, size); size is a power of two."""
    matrix: NDArray[np.float32] = (scipy.linalg.hadamard(size) / np.sqrt(size)).astype(np.float32)
    return matrix


def block_of(channels: int) -> int:
    """The widest block up to BLOCK that divides the channels."""
    return min(BLOCK, channels & -channels)


def costs_little(site: Site) -> bool:
    """Whether the site can be rotated for less than a twentieth of the multiplications of its own product."""
    channels, outputs = site.weight.shape
    return bool(SMALLEST_BLOCK <= block_of(channels) < SMALL_SHARE * outputs)


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned | None:
    weight = site.weight
    channels = weight.shape[0]
    block = block_of(channels)
    if block < SMALLEST_BLOCK:
        return None
    turn = hadamard(block)
    turned = (turn.T @ weight.reshape(channels // block, block, -1)).reshape(weight.shape)
    return Conditioned(
        rows=(rows.reshape(-1, channels // block, block) @ turn).reshape(rows.shape),
        weight=turned,
        build=partial(_build, site, block, turned),
        words=f"rotated by {block}",
    )


def _build(site: Site, block: int, weight: NDArray[np.float32]) -> None:
    graph = site.graph
    source, channels = site.source, weight.shape[0]
    name = f"{source.name}/turned{block}"
    turned = made(graph, f"{name}:out")  # where another site reads the same value, one rotation serves both
    if turned is None:
        fold = constant(graph, f"{OWN}fold{block}", np.array([0, -1, block], dtype=np.int64))
        unfold = constant(graph, f"{OWN}unfold{channels}", np.array([0, -1, channels], dtype=np.int64))
        (folded,) = insert(site.node, "Reshape", [source, fold], name=f"{name}:in")
        matrix = constant(graph, f"{OWN}hadamard{block}", hadamard(block))
        (product,) = insert(site.node, "MatMul", [folded, matrix], name=name)
        (turned,) = insert(site.node, "Reshape", [product, unfold], name=f"{name}:out")
    site.node.replace_input_with(0, turned)
    site.node.replace_input_with(1, constant(graph, f"{OWN}{site.name}/turned", weight))


CONDITIONER = Conditioner(name="rotation", cost=lambda inputs, outputs: NANOSECONDS * inputs, condition=_condition)
