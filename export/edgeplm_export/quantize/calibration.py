"""Run a float graph over calibration batches and look at the values of named tensors, one batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize._scheme import Feeds
from edgeplm_export.quantize.graph_edit import save_graph
from edgeplm_runtime.errors import BadInput, GateFailed
from edgeplm_runtime.session import onnxruntime_module


RESERVOIR_ROWS = 512  # rows of a tensor that are kept: enough to compare conditioners, 3 MB for 1,536 channels
TELL_SECONDS = 5.0
Sink = Callable[[str, NDArray[np.float32]], None]


def observe(
    model: ir.Model,
    names: Sequence[str],
    batches: Callable[[], Iterator[Feeds]] | None,
    sink: Sink,
    *,
    work: Path,
    tell: Callable[[str], None] = lambda message: None,
) -> int:
    """Call `sink(name, rows)` with (tokens, channels) float32 of each named tensor for each batch, padding left out.

    Gives the count of tokens. `work` is a path for the graph with these tensors as outputs; it is removed again.
    Raises BadInput (no batch at all), GateFailed (a tensor that is not finite, named).
    """
    if batches is None:
        raise BadInput("this scheme needs calibration data. Pass --calibration DATA.")
    wanted = list(dict.fromkeys(names))
    makers = {value.name: node.name for node in model.graph for value in node.outputs}
    session = _session(model, wanted, work)
    inputs = [value.name for value in session.get_inputs()]
    tokens = texts = 0
    said = time.monotonic()
    try:
        for feeds in batches():
            mask = feeds["attention_mask"].astype(bool)
            outputs = session.run(wanted, {name: feeds[name] for name in inputs})
            for name, value in zip(wanted, outputs, strict=True):
                sink(name, _real_rows(makers[name] or name, value, mask))
            tokens += int(mask.sum())
            texts += len(mask)
            if time.monotonic() - said > TELL_SECONDS:
                said = time.monotonic()
                tell(f"calibration: {texts} texts, {tokens} tokens so far")
    finally:
        for path in (work, work.with_name(f"{work.name}_data")):
            path.unlink(missing_ok=True)
    tell(f"calibration: {texts} texts, {tokens} tokens")
    if not tokens:
        raise BadInput("the calibration data is empty; give at least one text, better a hundred.")
    return tokens


def _session(model: ir.Model, wanted: Sequence[str], work: Path) -> Any:
    graph = model.graph
    before = list(graph.outputs)
    values = {value.name: value for node in graph for value in node.outputs}
    known = {value.name for value in before}
    graph.outputs.extend(values[name] for name in wanted if name not in known)
    for name in wanted:  # ONNX wants a type of every output
        values[name].type = values[name].type or ir.TensorType(ir.DataType.FLOAT)
    try:
        save_graph(model, work)
    finally:
        graph.outputs.clear()  # del graph.outputs[:] would leave them marked as outputs
        graph.outputs.extend(before)
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(work), options, providers=["CPUExecutionProvider"])


def _real_rows(maker: str, value: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    rows = value[mask] if value.shape[:2] == mask.shape else value.reshape(-1, value.shape[-1])
    if not np.isfinite(rows).all():
        raise GateFailed(
            f"the float32 graph gives NaN or infinite values at {maker} for a text of the calibration data; a range "
            "over them would be meaningless. Find the text, and leave it out or mend the checkpoint."
        )
    return rows


class Reservoir:
    """An even random sample of the rows of each tensor, (at most RESERVOIR_ROWS, channels) float32.

    Vitter 1985, algorithm R, on whole batches; seeded, so that the same data gives the same sample.
    """

    def __init__(self, rows: int = RESERVOIR_ROWS) -> None:
        self._limit = rows
        self._seen: dict[str, int] = {}
        self._kept: dict[str, NDArray[np.float32]] = {}
        self._random = np.random.default_rng(0)

    def __call__(self, name: str, rows: NDArray[np.float32]) -> None:
        """Take rows in."""
        seen = self._seen.get(name, 0)
        kept = self._kept.get(name)
        if kept is None:
            kept = np.empty((0, rows.shape[1]), dtype=np.float32)
        free = max(0, self._limit - len(kept))
        kept = np.concatenate([kept, rows[:free]])
        rest = rows[free:]
        if len(rest):
            order = seen + free + np.arange(len(rest))
            places = (self._random.random(len(rest)) * (order + 1)).astype(np.int64)
            chosen = places < self._limit
            kept[places[chosen]] = rest[chosen]
        self._seen[name] = seen + len(rows)
        self._kept[name] = kept

    def rows(self) -> Mapping[str, NDArray[np.float32]]:
        """What was kept of each tensor."""
        return self._kept
