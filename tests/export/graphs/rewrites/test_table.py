"""Every row of REWRITES on its examples: `applies_*` in which it changes one site, `leaves_*` in which it may not.

A new row needs a folder of its name under examples/, with at least one of each: graphs in ONNX's text format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edgeplm_export.graphs.rewrites import REWRITES
from edgeplm_export.graphs.rewrites._match import producer
from edgeplm_export.graphs.rewrites._tidy import tidy


EXAMPLES = Path(__file__).with_name("examples")
SIZES = {"B": 3, "S": 5}
ERROR = 1e-6
LONGER = ("skip_layer_normalization", "einsum")  # their form has more operators, and cheaper ones
APPLIES = [(path.parent.name, path.stem) for path in sorted(EXAMPLES.glob("*/applies_*.txt"))]
LEAVES = [(path.parent.name, path.stem) for path in sorted(EXAMPLES.glob("*/leaves_*.txt"))]


def _read(name: str, case: str) -> ir.Model:
    model = ir.from_onnx_text((EXAMPLES / name / f"{case}.txt").read_text(encoding="utf-8"))
    tidy(model)
    return model


def _feeds(model: ir.Model) -> dict[str, NDArray[np.generic]]:
    """Numbers for the inputs; a mask shows at least one key in each row, padded on the left, the right and inside."""
    generator = np.random.default_rng(0)
    feeds: dict[str, NDArray[np.generic]] = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        shape = [SIZES[str(size)] if isinstance(size, ir.SymbolicDim) else size for size in value.shape]
        if value.dtype == ir.DataType.FLOAT:
            feeds[str(value.name)] = generator.standard_normal(shape).astype(np.float32)
        else:
            kept = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]])
            feeds[str(value.name)] = kept.reshape(shape).astype(bool if value.dtype == ir.DataType.BOOL else np.int64)
    return feeds


def _run(model: ir.Model, feeds: dict[str, NDArray[np.generic]]) -> list[NDArray[np.float32]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    graph = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    found: Any = session.run([str(value.name) for value in model.graph.outputs], feeds)
    return list(found)


def _operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("name", REWRITES)
def test_every_rewrite_has_examples_of_both_kinds(name: str) -> None:
    assert {row for row, _ in APPLIES} == {row for row, _ in LEAVES} == set(REWRITES)
    row = REWRITES[name]
    assert row.name == name
    assert row.providers
    assert row.requires.endswith(".")
    assert row.ensures.endswith(".")
    assert row.gain


@pytest.mark.parametrize(("name", "case"), APPLIES)
def test_it_changes_what_it_is_for_and_the_answers_stay(name: str, case: str) -> None:
    model = _read(name, case)
    feeds = _feeds(model)
    outputs = [value.name for value in model.graph.outputs]
    before, operators = _run(model, feeds), _operators(model)
    assert REWRITES[name].apply(model) == 1
    tidy(model)
    assert len(_operators(model)) <= len(operators) or name in LONGER
    assert _operators(model) != operators
    assert [value.name for value in model.graph.outputs] == outputs
    for want, got in zip(before, _run(model, feeds), strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= ERROR
    assert REWRITES[name].apply(model) == 0  # done once, it finds nothing again


@pytest.mark.parametrize(("name", "case"), LEAVES)
def test_it_leaves_what_it_is_not_for(name: str, case: str) -> None:
    model = _read(name, case)
    _run(model, _feeds(model))  # the example is a graph that runs
    before = str(ir.to_proto(model))
    assert REWRITES[name].apply(model) == 0
    tidy(model)
    assert str(ir.to_proto(model)) == before


def test_the_mask_and_the_bias_of_an_attention_go_in_where_the_operator_takes_them() -> None:
    model = _read("attention", "applies_two_summands")
    REWRITES["attention"].apply(model)
    tidy(model)
    (node,) = [node for node in model.graph if node.op_type == "Attention"]
    assert node.attributes["num_heads"].as_int() == 2
    assert "scale" not in node.attributes  # 1 / sqrt(head size) is the operator's own
    assert node.attributes["mask_filter_value"].as_float() == pytest.approx(-3.4028234e38)
    assert producer(node.inputs[3], "Cast") is not None
    assert producer(node.inputs[5], "Expand") is not None


def test_a_scale_of_its_own_is_handed_on() -> None:
    model = _read("attention", "applies_another_scale_without_biases")
    REWRITES["attention"].apply(model)
    (node,) = [node for node in model.graph if node.op_type == "Attention"]
    assert node.attributes["scale"].as_float() == pytest.approx(0.3)


def test_no_score_stays_infinite_behind_the_guard() -> None:
    """A row of which every key is masked gives even weights, where the guard gave zeros: finite either way."""
    model = _read("nan_guard", "applies_infinite_mask")
    feeds = _feeds(model)
    feeds["seen"] = np.zeros_like(feeds["seen"])
    REWRITES["nan_guard"].apply(model)
    tidy(model)
    (weights,) = _run(model, feeds)
    assert np.isfinite(weights).all()


def test_a_weight_that_two_sums_read_in_two_ways_is_kept_in_both() -> None:
    weight = ", ".join(str(number) for number in np.random.default_rng(0).standard_normal(8).round(2))
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["" : 17]>
        g (float[B,S,2] x) => (float[B,S,2] y) <float[2,2,2] w = {{{weight}}}> {{
          heads = Einsum<equation="ibh,hnd->ibnd">(x, w)
          back = Einsum<equation="ibnd,ndh->ibh">(heads, w)
          again = Einsum<equation="ibh,hnd->ibnd">(back, w)
          y = Einsum<equation="ibnd,hnd->ibh">(again, w)
        }}"""
    )
    feeds = _feeds(model)
    (before,) = _run(model, feeds)
    assert REWRITES["einsum"].apply(model) == 4
    tidy(model)
    (after,) = _run(model, feeds)
    assert np.abs(before - after).max() <= ERROR * max(1.0, float(np.abs(before).max()))
