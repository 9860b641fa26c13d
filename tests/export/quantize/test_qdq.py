"""int8-qdq: what became of which nodes, its answers on ONNX Runtime's CPU, and a fault that the gate refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgeplm_export.quantize import SCHEMES, Feeds, Wish, qdq
from edgeplm_export.quantize.conditioning import rotation
from edgeplm_export.quantize.graph_edit import array_of, open_graph
from edgeplm_export.quantize.harm import site_names
from edgeplm_export.quantize.pairs import pair
from edgeplm_export.quantize.sites import Site
from edgeplm_export.quantizing import NothingWritten, quantize
from edgeplm_runtime.bundle.reader import open_bundle


Batches = Callable[[], Iterator[Feeds]]
SCHEME = SCHEMES["int8-qdq"]
LAYERS = 2  # of the toy


@pytest.fixture(scope="module")
def made(graph: Path, batches: Batches, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ir.Graph]:
    """The scheme's graph with these settings; each made once."""
    known: dict[tuple[str, ...], Path] = {}

    def make(*, high: frozenset[str] = frozenset(), **settings: str) -> ir.Graph:
        key = (*sorted(high), *map(str, settings.items()))
        if key not in known:
            known[key] = tmp_path_factory.mktemp("made") / "made.onnx"
            wish = Wish(batches=batches, high=high, settings={**SCHEME.defaults, **settings})
            SCHEME.apply(graph, known[key], wish)
        return open_graph(known[key]).graph

    return make


def products(graph: ir.Graph) -> list[ir.Node]:
    """The products with a weight in pairs."""
    return [node for node in graph if node.op_type == "MatMul" and _is_weight(node.inputs[1])]


def _is_weight(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear" and array_of(producer.inputs[0]) is not None


def test_the_graph_has_onnx_s_own_operators_alone(made: Callable[..., ir.Graph]) -> None:
    assert {node.domain for node in made()} == {""}
    assert {"Attention", "MultiHeadAttention"}.isdisjoint(node.op_type for node in made())


def test_every_product_stands_between_pairs_and_before_its_bias(made: Callable[..., ir.Graph]) -> None:
    found = products(made())
    assert len(found) == 6 * LAYERS  # queries, keys and values apart
    for node in found:
        x, w = (value.producer() for value in node.inputs if value is not None)
        assert x is not None
        assert w is not None
        assert (x.op_type, w.op_type) == ("DequantizeLinear", "DequantizeLinear")
        scale, weight, scales, zeros = (
            array_of(value) for value in (x.inputs[1], w.inputs[0], w.inputs[1], w.inputs[2])
        )
        assert scale is not None
        assert scale.shape == ()
        assert weight is not None
        assert scales is not None
        assert weight.dtype == np.int8
        assert scales.shape == weight.shape[1:]
        assert zeros is not None
        assert not zeros.any()
        assert w.attributes["axis"].as_int() == 1
        (use,) = node.outputs[0].uses()
        assert use.node.op_type == "Add"


def test_what_reads_the_same_value_shares_its_pair(made: Callable[..., ir.Graph]) -> None:
    shared = [node.inputs[0] for node in products(made()) if (node.name or "").endswith((".q", ".k", ".v"))]
    assert len(shared) == 3 * LAYERS
    assert len(set(shared)) == LAYERS


@pytest.mark.parametrize(("scores", "pairs"), [("int8", 2 * LAYERS), ("float32", 0)])
def test_queries_and_keys_are_rounded_where_that_is_set(scores: str, pairs: int, made: Callable[..., ir.Graph]) -> None:
    scaled = [
        node for node in made(scores=scores) if node.op_type == "MatMul" and str(node.name).endswith("standard/scores")
    ]
    assert len(scaled) == LAYERS
    rounded = 0
    for node in scaled:
        for value in node.inputs:
            while value is not None and (producer := value.producer()) is not None:
                if producer.op_type == "DequantizeLinear":
                    zero = array_of(producer.inputs[2])
                    assert zero is not None
                    assert zero.dtype == np.dtype(np.int8)
                    assert not zero.any()
                    rounded += 1
                    break
                if producer.op_type == "MatMul":
                    break
                value = producer.inputs[0]
    assert rounded == pairs


@pytest.mark.parametrize(("activations", "dtype"), [("uint8", np.uint8), ("int8", np.int8)])
def test_activations_are_of_the_type_that_is_set(activations: str, dtype: type, made: Callable[..., ir.Graph]) -> None:
    zeros = [array_of(node.inputs[0].producer().inputs[2]) for node in products(made(activations=activations))]  # type: ignore[union-attr]
    assert zeros
    assert {zero.dtype for zero in zeros if zero is not None} == {np.dtype(dtype)}
    if activations == "int8":  # TensorRT takes no other zero point
        assert not any(zero.any() for zero in zeros if zero is not None)


@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("scores", ["int8", "float32"])
def test_the_answers_hold_on_onnx_runtime_s_cpu(
    activations: str, scores: str, graph: Path, batches: Batches, tmp_path: Path
) -> None:
    wish = Wish(batches=batches, settings={**SCHEME.defaults, "activations": activations, "scores": scores})
    SCHEME.apply(graph, tmp_path / "made.onnx", wish)
    exact, found = (_answers(path, batches) for path in (graph, tmp_path / "made.onnx"))
    assert ((exact * found).sum(axis=1)).min() > 0.99


@pytest.mark.parametrize(
    ("channels", "outputs", "little"),
    [
        (384, 1536, True),
        (384, 1152, False),
        (384, 384, False),
        (768, 2304, True),
        (768, 768, False),
        (100, 4000, False),
    ],
)
def test_a_rotation_costs_little_beside_a_wide_product(channels: int, outputs: int, little: bool) -> None:
    weight = ir.Value(name="w", const_value=ir.tensor(np.zeros((channels, outputs), dtype=np.float32)))
    node = ir.node("MatMul", [ir.Value(name="x"), weight])
    assert rotation.costs_little(Site(name="site", node=node)) is little


def test_sites_whose_rotation_costs_little_are_rotated(
    graph: Path, batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotated() -> set[str]:
        sites = SCHEME.apply(graph, tmp_path / "made.onnx", Wish(batches=batches, settings=SCHEME.defaults)).sites
        return {name for name, words in sites.items() if "rotated" in words}

    attentions = {name for name in site_names(graph) if name.endswith("attention.self")}
    monkeypatch.setattr(rotation, "SMALL_SHARE", 0.0)
    assert not attentions & rotated()
    monkeypatch.setattr(rotation, "SMALL_SHARE", 0.5)  # of the toy's products, the widest are those of attention
    assert attentions <= rotated()


def test_an_attention_that_stays_high_has_no_pairs_at_all(graph: Path, made: Callable[..., ir.Graph]) -> None:
    high = frozenset(name for name in site_names(graph) if name.endswith("attention.self"))
    assert len(high) == LAYERS
    found = made(high=high)
    assert len(products(found)) == 3 * LAYERS
    assert {node.domain for node in found} == {""}


def test_a_pair_at_the_wrong_scale_is_refused_by_the_gate(
    embedder_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values at a thousandth of their range: every shape and type is right, the numbers are not."""
    bundle = Path(shutil.copytree(embedder_bundle, tmp_path / "bundle"))
    before = [variant.name for variant in open_bundle(bundle).manifest.variants]
    monkeypatch.setattr(
        qdq, "pair", lambda value, node, low, high, kind: pair(value, node, low / 1000, high / 1000, kind)
    )
    with pytest.raises(NothingWritten, match="parity:"):
        quantize(bundle, scheme="int8-qdq", settings={"scores": "int8"}, repair=False)
    assert [variant.name for variant in open_bundle(bundle).manifest.variants] == before


def _answers(graph: Path, batches: Batches) -> np.ndarray:
    """Unit sentence embeddings of all batches, (rows, dim)."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    rows: list[Any] = [
        session.run(["sentence_embedding"], {name: one[name] for name in inputs})[0] for one in batches()
    ]
    found: np.ndarray = np.concatenate(rows)
    unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit
