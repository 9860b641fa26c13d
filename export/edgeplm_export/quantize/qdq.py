"""int8 in QuantizeLinear and DequantizeLinear pairs, in a graph of ONNX's own operators alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgeplm_export.quantize._scheme import Made, Wish
from edgeplm_export.quantize.conditioning.rotation import costs_little
from edgeplm_export.quantize.graph_edit import add_to_bias, bias_behind, open_graph, save_graph, takes_bias
from edgeplm_export.quantize.int8 import KEPT, condition, found_ranges, summaries
from edgeplm_export.quantize.pairs import Activations, multiply_between_dequantizers, pair
from edgeplm_export.quantize.ranges import RANGES
from edgeplm_export.quantize.rounding import product_offsets
from edgeplm_export.quantize.separate import separate
from edgeplm_export.quantize.sites import Site
from edgeplm_export.quantize.standard import standard_sites
from edgeplm_export.quantize.tables import quantize_tables
from edgeplm_export.quantize.weights import WEIGHT_BITS


Scores = Literal["int8", "float32"]


def make_qdq(
    source: Path,
    target: Path,
    wish: Wish,
    *,
    conditioners: Sequence[str],
    ranges: str,
    activations: Activations,
    scores: Scores,
) -> Made:
    """The graph with every site between pairs but those of `wish.high`, and its tables in int8.

    `scores`: whether an attention's queries and keys are rounded too, so that their product is one of integers.
    Raises BadInput (no calibration data), GateFailed.
    """
    bits = int(wish.settings["weight_bits"])
    model = open_graph(source)
    graph = model.graph
    work = target.with_name(f"{target.name}.observed")
    found = standard_sites(graph)
    sites = [site for site in found if site.name not in wish.high]
    # What the cheaper conditioners add costs OpenVINO nothing, and MiniLM's last layers gain .0003 of cosine by it. But
    # all of them cut off a channel that goes beyond what calibration saw, and a rotation spreads it over its block. So
    # it is taken wherever it costs little: without it a [CLS] inside a text moved MiniLM's hidden states by 1.3.
    chosen = condition(model, sites, conditioners, wish, work, bits=bits, enough=0.0, rotated=costs_little)
    products = {site.name: separate(site) for site in sites}
    scored = [part for parts in products.values() if len(parts) > 1 for part in parts[:2]]  # queries and keys
    every = [part for parts in products.values() for part in parts]
    limits = found_ranges(model, every, ranges, wish, work)
    if activations == "int8":
        limits = [(min(low, -high), max(high, -low)) for low, high in limits]
    if scores == "int8":
        _round_scored(model, scored, ranges, wish, work)
    rows = [chosen[name].rows for name, parts in products.items() for part in parts]
    for part, sample, (low, high) in zip(every, rows, limits, strict=True):
        if takes_bias(part.node):  # what rounding adds on average: Nagel et al. 2019, arXiv:1906.04721
            offset = product_offsets(sample, part.weight, low, high, bits).mean(axis=0)
            add_to_bias(part.node, -offset, f"{part.name}/corrected")
        multiply_between_dequantizers(part, low, high, activations, bits)
    kind = "int8 static" if bits == WEIGHT_BITS[0] else f"int8 static, {bits}-bit weight"
    done = {name: ", ".join(filter(None, [kind, option.words])) for name, option in chosen.items()}
    kept = {site.name: KEPT for site in found if site.name in wish.high}
    tables = quantize_tables(graph, portable=True)
    save_graph(model, target)
    return Made(sites={**done, **kept, **tables})


def _round_scored(model: ir.Model, parts: Sequence[Site], method: str, wish: Wish, work: Path) -> None:
    """A pair behind queries and keys, signed: OpenVINO multiplies integers in an attention only without zero points."""
    values = [bias_behind(part.node)[0] for part in parts]
    width = {str(value.name): part.weight.shape[1] for value, part in zip(values, parts, strict=True)}
    found = summaries(model, {name: np.ones(size, dtype=bool) for name, size in width.items()}, wish, work)
    for value in values:
        reader = next(iter(value.uses())).node
        reader.replace_input_with(0, pair(value, reader, *RANGES[method](found[str(value.name)]), "int8"))
