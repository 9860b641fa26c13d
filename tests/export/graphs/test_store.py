"""A stored graph: what nodes pass to each other has short names, everything that others name keeps its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeplm_export.graphs.store import store_optimized, store_plain


BRANCHES = """
<ir_version: 10, opset_import: ["" : 17, "com.microsoft" : 1]>
inner (float[B,4] x, bool[1] flag) => (float[B,4] y)
<float[4] inner_weight = {1.0, 2.0, 3.0, 4.0}, float[4] v0 = {5.0, 6.0, 7.0, 8.0}>
{
  [inner_layer_add] inner_layer_add_output = Add(x, inner_weight)
  [inner_layer_choice] inner_layer_choice_output = If(flag) <
    then_branch = then_graph () => (float[B,4] then_output) {
      then_inside = Mul(inner_layer_add_output, inner_weight)
      then_output = Mul(then_inside, v0)
    },
    else_branch = else_graph () => (float[B,4] else_output) { else_output = Sub(inner_layer_add_output, v0) }
  >
  [inner_layer_last] y = Add(inner_layer_choice_output, inner_layer_add_output)
}
"""


def _run(path: Path, flag: bool) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {"x": np.arange(8, dtype=np.float32).reshape(2, 4), "flag": np.array([flag])}
    found: np.ndarray = np.asarray(session.run(["y"], feeds)[0])
    return found


@pytest.mark.parametrize("store", [store_optimized, store_plain])
def test_values_between_nodes_get_short_names_and_the_answers_stay(store: object, tmp_path: Path) -> None:
    source, target = tmp_path / "source.onnx", tmp_path / "stored.onnx"
    ir.save(ir.from_onnx_text(BRANCHES), source)
    assert callable(store)
    store(source, target)
    model = ir.load(target)
    kept = {"x", "flag", "y", "inner_weight", "v0", "then_output", "else_output"}
    names = [value.name for node in model.graph.all_nodes() for value in node.outputs]
    assert len(set(names)) == len(names)
    assert all(name in kept or name in {"v1", "v2", "v3"} for name in names)
    assert {"inner_layer_choice", "inner_layer_last"} <= {node.name for node in model.graph}
    assert {"inner_weight", "v0"} == set(model.graph.initializers)
    assert "com.microsoft" not in model.graph.opset_imports
    for flag in (True, False):
        assert np.array_equal(_run(source, flag), _run(target, flag))
