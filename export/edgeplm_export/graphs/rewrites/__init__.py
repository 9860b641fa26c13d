"""REWRITES: the ordered table that brings an encoder's graph, from whichever exporter, into a provider's best form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from edgeplm_export.graphs.rewrites import (
    attention,
    einsum,
    gelu,
    key_transpose,
    layer_normalization,
    nan_guard,
    padding_mask,
    skip_layer_normalization,
)
from edgeplm_export.graphs.rewrites._rewrite import Rewrite
from edgeplm_export.graphs.rewrites._tidy import tidy


REWRITES: dict[str, Rewrite] = {
    row.name: row
    for row in (
        layer_normalization.REWRITE,
        skip_layer_normalization.REWRITE,
        einsum.REWRITE,
        nan_guard.REWRITE,
        key_transpose.REWRITE,
        padding_mask.REWRITE,  # before attention, which takes the mask in this one form
        attention.REWRITE,
        gelu.REWRITE,
    )
}


def rewrite(
    source: Path, target: Path, *, provider: str = "CPU", rows: Mapping[str, Rewrite] = REWRITES
) -> dict[str, int]:
    """Write the graph in the form that a provider runs best, and give the sites that each rewrite changed.

    The weights lie beside `target`: a protobuf file holds 2 GB at most.
    """
    model = ir.load(source)
    tidy(model)
    sites = {}
    for name, row in rows.items():
        if provider in row.providers:
            sites[name] = row.apply(model)
            tidy(model)  # what this one left unused would be a second reader in the eyes of the next
    for value in model.graph.initializers.values():
        value.type = value.shape = None  # said by the tensor; said twice, quantizers that transpose one contradict it
    ir.save(model, target, external_data=f"{target.name}.data")
    return sites


__all__ = ["REWRITES", "Rewrite", "rewrite"]
