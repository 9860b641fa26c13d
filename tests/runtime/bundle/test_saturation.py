"""The canary catches int8 products that saturate, on any CPU: the other kernel is computed here in numpy.

The graph is one uint8 × int8 product whose pairs leave int16. A CPU either adds the pairs in int32 (VNNI, SSE, ARM) or
saturates each (vpmaddubsw: AVX2 and AVX-512 without VNNI). Whichever this CPU does, the canary holds the answers of the
other kind, as a bundle has that was proved there. tests/emulation has both kinds for real.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import CanaryDrift


WIDTH = 32
SCALE = 1e-5  # int32 sums of products to logits of about 1
VOCABULARY = 256

Products = Callable[[NDArray[np.uint8], NDArray[np.int8]], NDArray[np.int32]]


def exact(a: NDArray[np.uint8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """The products (tokens, outputs) int32 of a (tokens, width) and b (width, outputs), as VNNI adds them."""
    sums: NDArray[np.int32] = a.astype(np.int32) @ b.astype(np.int32)
    return sums


def saturated(a: NDArray[np.uint8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """The same as vpmaddubsw adds them: two neighbours along the width in int16, which saturates; then in int32."""
    products = a.astype(np.int32)[:, :, None] * b.astype(np.int32)[None]  # (tokens, width, outputs)
    pairs = products[:, 0::2] + products[:, 1::2]
    sums: NDArray[np.int32] = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1, dtype=np.int32)
    return sums


def drawn(weight_bits: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """An embedding table (vocabulary, width) far from zero, and equal pairs of weights (width, 2) of that many bits."""
    random = np.random.default_rng(0)
    table = random.integers(128, 256, (VOCABULARY, WIDTH), dtype=np.uint8)
    largest = 2 ** (weight_bits - 1) - 1
    signs = random.choice([-1, 1, 1], (WIDTH // 2, 2)).repeat(2, axis=0)
    return table, (signs * largest).astype(np.int8)


def graph_of(table: NDArray[np.uint8], weights: NDArray[np.int8]) -> onnx.ModelProto:
    """input_ids (1, tokens) → logits (1, 2): the mean over the tokens of SCALE × table[ids] · weights."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["a"]),  # (1, tokens, width) uint8
        helper.make_node("MatMulInteger", ["a", "weights"], ["sums"]),  # (1, tokens, 2) int32
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "saturation",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 2])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32(SCALE), "scale"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def proved_with(
    with_graph: Callable[[Any], Path], rehash: Callable[[Path], None]
) -> Callable[[int, Products], tuple[Path, NDArray[np.float32]]]:
    """A bundle whose fp32 variant is that product, with the canary that these kernels give; and its first answer."""

    def make(weight_bits: int, products: Products) -> tuple[Path, NDArray[np.float32]]:
        table, weights = drawn(weight_bits)
        bundle = with_graph(graph_of(table, weights))
        path = bundle / "proof/canary.json"
        canary = json.loads(path.read_bytes())
        answers = [products(table[row], weights).mean(axis=0) * SCALE for row in canary["ids"]]
        canary["variants"]["fp32"] |= {
            "values": [[round(float(x), 6) for x in row] for row in answers],
            "min_cosine": 0.995,  # the bounds of int8
            "max_error": 0.1,
        }
        path.write_text(json.dumps(canary), encoding="utf-8")
        rehash(bundle)
        return bundle, answers[0].astype(np.float32)

    return make


def test_the_answers_of_a_cpu_that_adds_otherwise_are_caught(
    proved_with: Callable[[int, Products], tuple[Path, NDArray[np.float32]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", "avx2")  # not the CPU that made the bundle
    verdicts = {}
    for products in (exact, saturated):
        bundle, _ = proved_with(8, products)
        try:
            load(bundle, "fp32").close()
            verdicts[products.__name__] = "passed"
        except CanaryDrift as error:
            verdicts[products.__name__] = str(error)
            with load(bundle) as engine:  # auto takes the next one
                assert engine.active.variant == "int8"
    # This CPU has one of the two kernels: its own answers pass, the other's are refused.
    assert sorted(verdict == "passed" for verdict in verdicts.values()) == [False, True]
    refused = next(verdict for verdict in verdicts.values() if verdict != "passed")
    assert "fp32: input 0: a value moved by " in refused
    assert "Here 'int8' does: ask for it" in refused


def test_weights_of_seven_bits_give_the_same_answers_on_both(
    proved_with: Callable[[int, Products], tuple[Path, NDArray[np.float32]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", "avx2")
    _, of_exact = proved_with(7, exact)
    bundle, of_saturated = proved_with(7, saturated)
    assert np.array_equal(of_exact, of_saturated)
    with load(bundle, "fp32") as engine:
        assert engine.active.canary.startswith("passed")
