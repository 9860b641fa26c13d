"""How much each site alone harms the answer: the graph with only that site quantized, against the float32 graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize._scheme import Feeds, Scheme, Wish
from edgeplm_export.quantize.graph_edit import open_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_runtime.session import onnxruntime_module


BATCHES = 6  # of about 512 tokens: enough to rank sites


def site_names(graph: Path) -> list[str]:
    """The names of the sites of a float32 graph, in its order."""
    return [site.name for site in find_sites(open_graph(graph).graph)]


def measure_harm(scheme: Scheme, source: Path, work: Path, wish: Wish) -> dict[str, float]:
    """The relative squared error of what `wish.output` names for each site, the largest first.

    `wish.memory` should hold what a first run of the scheme observed: nothing is calibrated again.
    """
    sample = first_batches(wish)
    names = site_names(source)
    exact = _run(source, wish.output, sample)
    size = max(float(sum((value**2).sum() for value in exact)), 1e-30)
    target = work / "harm.onnx"
    harms = {}
    for position, name in enumerate(names, 1):
        wish.tell(f"harm of each site: {position} of {len(names)}, {name}")
        others = frozenset(names) - {name}
        one = replace(wish, high=others, tell=lambda message: None)
        scheme.apply(source, target, one)
        got = _run(target, wish.output, sample)
        harms[name] = float(sum(((a - b) ** 2).sum() for a, b in zip(exact, got, strict=True))) / size
        for path in work.glob(f"{target.name}*"):
            path.unlink()
    return dict(sorted(harms.items(), key=lambda item: -item[1]))


def first_batches(wish: Wish) -> list[Feeds]:
    """The calibration batches that harm is measured on."""
    assert wish.batches is not None
    return list(islice(wish.batches(), BATCHES))


def float_session(graph: Path) -> Any:
    """ONNX Runtime's session on the CPU, which says only what is an error."""
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _run(graph: Path, output: str | None, sample: Sequence[Feeds]) -> list[NDArray[np.float32]]:
    session = float_session(graph)
    inputs = [value.name for value in session.get_inputs()]
    wanted = None if output is None else [output]
    return [value for feeds in sample for value in session.run(wanted, {name: feeds[name] for name in inputs})]
