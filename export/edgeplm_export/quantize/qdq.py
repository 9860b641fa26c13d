"""int8 in QuantizeLinear and DequantizeLinear pairs, in a graph of ONNX's own operators alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgeplm_export.quantize._scheme import Made, Wish
from edgeplm_export.quantize.graph_edit import open_graph, save_graph
from edgeplm_export.quantize.int8 import KEPT, condition, found_ranges, summaries
from edgeplm_export.quantize.pairs import Activations, multiply_between_dequantizers, pair
from edgeplm_export.quantize.ranges import RANGES
from edgeplm_export.quantize.sites import Site, find_sites
from edgeplm_export.quantize.split_attention import split_attention
from edgeplm_export.quantize.standard_form import can_be_written_out, separate, write_out_attention, write_out_gelus
from edgeplm_export.quantize.tables import quantize_tables


Scores = Literal["int8", "float32"]


def make_qdq(
    source: Path,
    target: Path,
    wish: Wish,
    *,
    conditioners: Sequence[str],
    range: str,
    activations: Activations,
    scores: Scores,
) -> Made:
    """The graph with every site between pairs but those of `wish.high`, and its tables in int8.

    `scores`: whether an attention's queries and keys are rounded too, so that their product is one of integers.
    Raises BadInput (no calibration data), GateFailed.
    """
    model = open_graph(source)
    graph = model.graph
    work = target.with_name(f"{target.name}.observed")
    write_out_gelus(graph)
    for node in [node for node in graph if node.op_type == "Attention"]:
        if can_be_written_out(node):
            write_out_attention(node)
        else:
            split_attention(node)
    found = find_sites(graph)
    sites = [site for site in found if site.name not in wish.high]
    told = {site.name: "" for site in sites}
    told |= condition(model, sites, conditioners, wish, work)
    products = {site.name: separate(site) for site in sites}
    rounded = [value for parts in products.values() if len(parts) > 1 for value in _scored(parts)]
    every = [part for parts in products.values() for part in parts]
    limits = found_ranges(model, every, range, wish, work)
    if scores == "int8":
        _round_scored(model, rounded, range, wish, work)
    for part, (low, high) in zip(every, limits, strict=True):
        multiply_between_dequantizers(part, low, high, activations)
    done = {name: ", ".join(filter(None, ["int8 static", words])) for name, words in told.items()}
    kept = {site.name: KEPT for site in found if site.name in wish.high}
    tables = quantize_tables(graph, portable=True)
    save_graph(model, target)
    return Made(sites={**done, **kept, **tables})


def _scored(parts: Sequence[Site]) -> list[ir.Value]:
    """Queries and keys behind their biases, (batch, sequence, width)."""
    return [next(iter(part.node.outputs[0].uses())).node.outputs[0] for part in parts[:2]]


def _round_scored(
    model: ir.Model, values: Sequence[ir.Value], method: str, wish: Wish, work: Path
) -> None:
    """A pair behind each value, signed: OpenVINO multiplies integers in an attention only without zero points."""
    channels = {}
    for value in values:
        bias = value.producer().inputs[1].const_value  # type: ignore[union-attr]
        channels[str(value.name)] = np.ones(bias.shape[-1], dtype=bool)  # type: ignore[union-attr]
    found = summaries(model, channels, wish, work)
    for value in values:
        low, high = RANGES[method](found[str(value.name)])
        reader = next(iter(value.uses())).node
        back = pair(value, reader, low, high, "int8")
        reader.replace_input_with(0, back)
