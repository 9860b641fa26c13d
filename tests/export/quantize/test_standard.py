"""ONNX Runtime's own operators in standard ones: the same numbers, and what has no such form is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgeplm_export.quantize.standard import FORMS, to_standard
from edgeplm_runtime.errors import GateFailed


RANDOM = np.random.default_rng(0)
HEAD = """
<ir_version: 10, opset_import: ["" : 17, "com.microsoft" : 1]>
g (float[b, s, 8] x, float[s, 8] y, int32[b, s] mask, float[1, 2, s, s] bias) => (float out)
"""
WEIGHTS = {"w": (8, 24), "wb": (24,), "v": (8,), "m": (8, 8)}
BODIES = {
    "Attention": "out = com.microsoft.Attention <num_heads = 2> (x, w, wb, mask)",
    "Attention without mask": "out = com.microsoft.Attention <num_heads = 2, scale = 0.3> (x, w, wb)",
    "Attention with bias": "out = com.microsoft.Attention <num_heads = 2, mask_filter_value = -3.4e38> "
    "(x, w, wb, mask, , bias)",
    "two Attentions of one mask": "a = com.microsoft.Attention <num_heads = 2> (x, w, wb, mask) "
    "out = com.microsoft.Attention <num_heads = 2> (a, w, wb, mask)",
    "BiasGelu": "out = com.microsoft.BiasGelu (x, v)",
    "Gelu": "out = com.microsoft.Gelu (x)",
    "FastGelu": "out = com.microsoft.FastGelu (x, v)",
    "FastGelu without bias": "out = com.microsoft.FastGelu (x)",
    "FusedGemm": 'out = com.microsoft.FusedGemm <activation = "Tanh", transB = 1> (y, m, v)',
    "FusedGemm with a slope": "out = com.microsoft.FusedGemm "
    '<activation = "LeakyRelu", activation_alpha = 0.2> (y, m, v)',
    "FusedMatMul": "out = com.microsoft.FusedMatMul <alpha = 0.25, transB = 1> (x, m)",
    "FusedMatMul of two": "out = com.microsoft.FusedMatMul <transA = 1> (x, x)",
}


def made(body: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"{HEAD}{{ {body} }}")
    for name, shape in WEIGHTS.items():
        numbers = RANDOM.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(numbers, name))
    for position, node in enumerate(model.graph.node):
        node.name = f"node{position}"
    return onnx.shape_inference.infer_shapes(model)


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {
        "x": np.random.default_rng(1).normal(size=(2, 5, 8)).astype(np.float32),
        "y": np.random.default_rng(2).normal(size=(5, 8)).astype(np.float32),
        "mask": np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=np.int32),
        "bias": np.random.default_rng(3).normal(size=(1, 2, 5, 5)).astype(np.float32),
    }
    (found,) = session.run(["out"], {i.name: feeds[i.name] for i in session.get_inputs()})
    return np.asarray(found)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_standard_form_gives_the_same_numbers(body: str) -> None:
    before = made(body)
    model = ir.from_proto(before)
    assert sum(to_standard(model.graph).values()) == len(before.graph.node)
    model.graph.sort()
    after = ir.to_proto(model)
    assert {node.domain for node in after.graph.node} == {""}
    np.testing.assert_allclose(answer(after), answer(before), rtol=0, atol=2e-6)


def test_every_form_is_tried_here() -> None:
    assert {words.split()[0] for words in BODIES} - {"two"} == set(FORMS)


def test_one_mask_is_turned_into_a_bias_once() -> None:
    model = ir.from_proto(made(BODIES["two Attentions of one mask"]))
    to_standard(model.graph)
    assert [node.op_type for node in model.graph].count("Where") == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("out = com.microsoft.QuickGelu (x)", "QuickGelu"),
        ("out = com.microsoft.Attention <num_heads = 2, unidirectional = 1> (x, w, wb, mask)", "of a kind"),
        ("out = com.microsoft.FusedMatMul <transBatchA = 1> (x, x)", "turns its batches"),
    ],
)
def test_what_has_no_standard_form_is_refused_by_name(body: str, words: str) -> None:
    with pytest.raises(GateFailed, match=words):
        to_standard(ir.from_proto(made(body)).graph)


def test_a_tiled_value_has_the_axes_of_what_was_tiled() -> None:
    """ONNX Runtime stores no shape for it where an operator of its own stands before."""
    twice = onnx.numpy_helper.from_array(np.array([1, 2, 1]), "twice")
    before = made("t = Tile (x, twice) out = com.microsoft.FusedMatMul <transB = 1> (x, t)")
    before.graph.initializer.append(twice)
    model = ir.from_proto(before)
    tiled = next(node for node in model.graph if node.op_type == "Tile").outputs[0]
    tiled.shape = None
    to_standard(model.graph)
    np.testing.assert_allclose(answer(ir.to_proto(model)), answer(before), rtol=0, atol=2e-6)
    model = ir.from_proto(before)
    tiled = next(node for node in model.graph if node.op_type == "Tile").outputs[0]
    whole = next(value for value in model.graph.inputs if value.name == "x")
    tiled.shape = whole.shape = None
    with pytest.raises(GateFailed, match="unknown rank"):
        to_standard(model.graph)


def test_the_weights_stay_where_they_are(classifier_bundle: Path, tmp_path: Path) -> None:
    from edgeplm_export.quantize.standard import write_standard

    graph = classifier_bundle / "onnx" / "model.onnx"
    write_standard(graph, tmp_path / "model_portable.onnx")
    here, there = (onnx.load(path, load_external_data=False) for path in (tmp_path / "model_portable.onnx", graph))
    external = {w.name: {e.key: e.value for e in w.external_data} for w in there.graph.initializer if w.external_data}
    for weight in here.graph.initializer:
        if weight.external_data:
            assert {e.key: e.value for e in weight.external_data}.items() >= external[weight.name].items()
    assert sum(bool(weight.external_data) for weight in here.graph.initializer) == len(external)
    assert [path.name for path in tmp_path.iterdir()] == ["model_portable.onnx"]
