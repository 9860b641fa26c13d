"""How much each rounded weight alone moves the answer, and which few of them do most of the harm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize._scheme import Wish
from edgeplm_export.quantize.graph_edit import save_graph
from edgeplm_export.quantize.harm import first_batches, float_session


def harm_of_weights(
    model: ir.Model, rounded: Mapping[str, NDArray[np.float32]], wish: Wish, work: Path
) -> dict[str, float]:
    """The relative squared error of what `wish.output` names, with only that weight rounded; by the weight's name.

    Where no output is named: summed over all of them.

    A weight that something else reads as well is rounded there, too.
    One session for all of them: the weights are inputs of it with the old ones as defaults. `work` is a path for that
    graph; it is removed again.
    """
    outputs = None if wish.output is None else [wish.output]
    graph = model.graph
    before = list(graph.inputs)
    graph.inputs.extend(graph.initializers[name] for name in rounded)
    try:
        save_graph(model, work)
        session = float_session(work)
        sample = [{value.name: feeds[str(value.name)] for value in before} for feeds in first_batches(wish)]
        exact = [session.run(outputs, feeds) for feeds in sample]
        sizes = [max(float(sum((value**2).sum() for value in values)), 1e-30) for values in zip(*exact, strict=True)]
        harms = {}
        for position, (name, weight) in enumerate(rounded.items(), 1):
            wish.tell(f"harm of each weight: {position} of {len(rounded)}, {name}")
            harms[name] = 0.0
            for feeds, wanted in zip(sample, exact, strict=True):
                found = session.run(outputs, {**feeds, name: weight})
                harms[name] += sum(
                    float(((a - b) ** 2).sum()) / size for a, b, size in zip(found, wanted, sizes, strict=True)
                )
    finally:
        graph.inputs.clear()
        graph.inputs.extend(before)
        for path in (work, work.with_name(f"{work.name}_data")):
            path.unlink(missing_ok=True)
    return harms


def worst_weights(harms: Mapping[str, float], sizes: Mapping[str, int], share: float) -> set[str]:
    """Weights that do at least `share` of the harm of all: those that do most for their size, one after another."""
    chosen: set[str] = set()
    left = share * sum(harms.values())
    for name in sorted(harms, key=lambda name: harms[name] / sizes[name], reverse=True):
        if left <= 0:
            break
        chosen.add(name)
        left -= harms[name]
    return chosen
