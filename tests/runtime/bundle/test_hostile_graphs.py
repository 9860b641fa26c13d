"""Graphs made to do harm, in a bundle whose hashes match: the scan refuses them, or the limits of load() stop them.

A number in a comment is that of the fault in our list of faults. The scan's own rows: test_scan.py.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeplm_runtime.bundle import scan
from edgeplm_runtime.bundle.reader import entry_of
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadBundle, DeadlineExceeded, EdgePLMError, MissingDependency, OutOfMemory
from edgeplm_runtime.machine import peak_rss_bytes


INT64, FLOAT, STRING = TensorProto.INT64, TensorProto.FLOAT, TensorProto.STRING
LOGITS = helper.make_tensor_value_info("logits", FLOAT, None)
IDS = helper.make_tensor_value_info("input_ids", INT64, ["rows", "tokens"])
WithGraph = Callable[[Any], Path]


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=f"make {outputs}", **attributes)


# Two logits for each row: a graph that is fine.
HONEST = [
    node("Cast", "input_ids", "numbers", to=FLOAT),
    node("ReduceMean", "numbers", "mean", axes=[1], keepdims=1),
    node("Concat", "mean mean", "logits", axis=1),
]


def model(
    nodes: list[Any],
    *constants: tuple[str, Any],
    output: Any = LOGITS,
    opset: int = 17,
    ir_version: int = 8,
    domains: tuple[str, ...] = (),
    **more: Any,
) -> ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants]
    graph = helper.make_graph(nodes, "g", [IDS], [output], tensors)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, **more)


def loop() -> ModelProto:
    scalar = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", INT64, [])
    after = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
    body = helper.make_graph([node("Identity", "go", "still")], "body", [turn, scalar], [after])
    return model([node("Loop", "times yes", "", body=body), *HONEST], ("times", 2**62), ("yes", True))


def function_chain() -> ModelProto:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    functions = [
        helper.make_function(
            "local",
            f"f{i}",
            ["a"],
            ["b"],
            [helper.make_node(f"f{i + 1}", ["a"], ["b"], domain="local") if i < 2999 else node("Identity", "a", "b")],
            imports,
        )
        for i in range(3000)
    ]
    call = helper.make_node("f0", ["input_ids"], ["same"], domain="local")
    return model([call, *HONEST], domains=("local",), functions=functions)


def nested_ifs(depth: int) -> ModelProto:
    graph = helper.make_graph(
        [node("Identity", "input_ids", "x")], "b", [], [helper.make_tensor_value_info("x", INT64, None)]
    )
    for _ in range(depth):
        inner = node("If", "yes", "x", then_branch=graph, else_branch=graph)
        graph = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("x", INT64, None)])
    return model([node("If", "yes", "x", then_branch=graph, else_branch=graph), *HONEST], ("yes", True))


def huge_dims() -> ModelProto:
    made = model([node("Add", "logits0 w", "logits")])
    made.graph.node.insert(0, node("Cast", "input_ids", "logits0", to=FLOAT))
    made.graph.initializer.add(name="w", data_type=FLOAT, dims=[2**31, 2**31], raw_data=b"1234")
    return made


def outside(location: str) -> ModelProto:
    made = model(HONEST)
    tensor = made.graph.initializer.add(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return made


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "an empty file": (lambda: b"", "is empty"),  # 1
    "random bytes": (lambda: np.random.default_rng(1).bytes(4000), "not an ONNX model, or is damaged"),  # 2
    "weights in a parent folder": (lambda: outside("../../secret"), "leads out of the graph's folder"),  # 10
    "weights at an absolute path": (lambda: outside("/etc/passwd"), "'/etc/passwd', which is absolute"),  # 11
    "weights that the manifest does not list": (lambda: outside("other.data"), "'other.data', which is not there"),
    "dims of 2^31 times 2^31": (huge_dims, "initializer 'w' has dims"),  # 16
    "a tensor as large as a constant says": (  # 17
        lambda: model([node("ConstantOfShape", "n", "bomb"), *HONEST], ("n", np.array([2**20, 2**20]))),
        r"make bomb' \(ConstantOfShape\) makes a tensor",
    ),
    "a loop of 2^62 turns": (loop, r"\(Loop\) repeats a graph"),  # 18
    "a chain of 3000 functions": (function_chain, "3000 model-local functions"),  # 19
    "an If nested 8 deep": (lambda: nested_ifs(8), "nested deeper than 4"),  # 20
    "a cycle": (  # 21
        lambda: model([node("Add", "input_ids b", "a"), node("Identity", "a", "b"), *HONEST]),
        "make a' .*reads 'b'.*cycle",
    ),
    "an operator that ONNX does not have": (  # 22
        lambda: model([node("Explode", "input_ids", "x"), *HONEST]),
        r"make x.*No Op registered for Explode",
    ),
    "an operator of an unknown domain": (  # 22
        lambda: model([helper.make_node("Explode", ["input_ids"], ["x"], domain="evil"), *HONEST], domains=("evil",)),
        "'Explode' of the domain 'evil'",
    ),
    "an operator of a custom library": (  # 23
        lambda: model(
            [helper.make_node("Tokenizer", ["input_ids"], ["x"], domain="ai.onnx.contrib"), *HONEST],
            domains=("ai.onnx.contrib",),
        ),
        "Libraries of custom operators are never loaded",
    ),
    "opset 99": (lambda: model(HONEST, opset=99), "opset 99.*newer tool. Upgrade edgeplm"),  # 24
    "IR version 99": (lambda: model(HONEST, ir_version=99), "IR version 99.*newer tool. Upgrade edgeplm"),  # 25
    "two nodes of one name": (  # 26
        lambda: model([helper.make_node("Identity", ["input_ids"], [out], name="twin") for out in ("a", "b")] + HONEST),
        r"node 'twin' \(Identity\) and an earlier node have the same name 'twin'",
    ),
    "two initializers of one name": (  # 26
        lambda: model(HONEST, ("w", 1.0), ("w", 2.0)),
        "two initializers have the same name 'w'",
    ),
    "a GGUF file": (lambda: b"GGUF\3\0\0\0" + bytes(200), "looks like a GGUF file"),  # 33
    "a torch checkpoint": (lambda: b"PK\x03\x04" + bytes(200), "looks like a zip archive"),  # 33
    "no logits": (
        lambda: model(
            [node("Cast", "input_ids", "x", to=FLOAT)], output=helper.make_tensor_value_info("x", FLOAT, None)
        ),
        r"the outputs \['x'\]; the manifest expects .*'logits' \(of floats\)",
    ),
    "logits that are text": (
        lambda: model(
            [node("Cast", "input_ids", "logits", to=STRING)],
            output=helper.make_tensor_value_info("logits", STRING, None),
        ),
        r"'logits' \(of floats\)",
    ),
    "an input that no text has": (
        lambda: model([node("Identity", "pixels", "logits"), node("Cast", "input_ids", "x", to=FLOAT)]),
        "pixels",
    ),
}


@pytest.mark.parametrize(("build", "found"), FAULTS.values(), ids=FAULTS)
def test_the_bundle_is_refused(with_graph: WithGraph, build: Callable[[], Any], found: str) -> None:
    bundle = with_graph(build())
    start = time.perf_counter()
    with pytest.raises(BadBundle, match=found):
        load(bundle, "fp32")
    assert time.perf_counter() - start < 10


def test_an_honest_graph_in_its_place_answers(with_graph: WithGraph) -> None:
    with load(with_graph(model(HONEST)), "fp32") as engine:
        assert engine("good")["score"] == pytest.approx(0.5)


@pytest.mark.parametrize("allowed", [1, 4])
def test_ifs_that_are_nested_as_deep_as_allowed_run(with_graph: WithGraph, allowed: int) -> None:  # 20
    with load(with_graph(nested_ifs(allowed - 1)), "fp32") as engine:
        assert engine("good")["score"] == pytest.approx(0.5)


SHAPES: dict[str, tuple[list[Any], str]] = {
    "one row for all": ([node("ReduceMean", "numbers", "logits", keepdims=1)], r"for 2 texts .* shape \(1, 1\)"),
    "a scalar": ([node("ReduceMean", "numbers", "logits", keepdims=0)], r"shape \(\)"),
    "a value for each token": ([node("Identity", "numbers", "logits")], r"logits of the shape \(\d+,\) .* 2 labels"),
    "a table for each row": (
        [node("Unsqueeze", "numbers two", "logits")],
        r"logits of the shape \(\d+, 1\) .* 2 labels",
    ),
}


@pytest.mark.parametrize(("nodes", "found"), SHAPES.values(), ids=SHAPES)
def test_logits_of_another_shape_are_named(with_graph: WithGraph, nodes: list[Any], found: str) -> None:
    bundle = with_graph(model([HONEST[0], *nodes], ("two", np.array([2]))))
    with load(bundle, "fp32") as engine, pytest.raises(BadBundle, match=found):
        engine(["good", "good film"])


@pytest.mark.slow
def test_weights_of_more_than_two_gigabytes_load(bundle: Path, edit_manifest: Callable[..., None]) -> None:  # 28
    rows, width = 2_200_000, 256
    made = model([node("Gather", "w input_ids", "rows"), node("ReduceMean", "rows", "logits", axes=[1], keepdims=0)])
    tensor = made.graph.initializer.add(name="w", data_type=FLOAT, dims=[rows, width])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx_data")
    (bundle / "onnx/model.onnx").write_bytes(made.SerializeToString())
    with (bundle / "onnx/model.onnx_data").open("r+b") as file:
        file.truncate(0)
        file.truncate(rows * width * 4)  # a hole: zeros that take no space on the disk
        file.seek(7 * width * 4)
        file.write(np.ones(width, np.float32).tobytes())
    entry = entry_of(bundle / "onnx/model.onnx_data")

    def change(document: dict[str, Any]) -> None:
        document["files"]["onnx/model.onnx_data"] = {"sha256": entry.sha256, "size": entry.size}
        graph = entry_of(bundle / "onnx/model.onnx")
        document["files"]["onnx/model.onnx"] = {"sha256": graph.sha256, "size": graph.size}

    edit_manifest(bundle, change)
    with load(bundle, "fp32") as engine:
        found = engine.forward([[7, 7], [7, 5], [5, 5]])["logits"]
    np.testing.assert_array_equal(found[:, 0], [1.0, 0.5, 0.0])


def computed_bomb() -> ModelProto:
    """Makes as many MB as the largest token id says, from a shape that no scan can see."""
    return model(
        [
            node("ReduceMax", "input_ids", "largest", keepdims=0),
            node("Mul", "largest million", "count"),
            node("Reshape", "count one", "shape"),
            node("ConstantOfShape", "shape", "bomb"),
            node("ReduceSum", "bomb", "sum", keepdims=0),
            *HONEST[:2],
            node("Add", "mean sum", "logit"),
            node("Concat", "logit logit", "logits", axis=1),
        ],
        ("million", np.int64(250_000)),
        ("one", np.array([1])),
    )


def slow(turns: int) -> ModelProto:
    """Multiplies large matrices made at run time, one after the other."""
    chain = [node("MatMul", f"m{i} m{i}", f"m{i + 1}") for i in range(turns)]
    return model(
        [
            *HONEST[:2],
            node("ReduceMean", "mean", "scalar", keepdims=0),
            node("Expand", "scalar shape", "m0"),
            *chain,
            node("ReduceMean", f"m{turns}", "m", keepdims=0),
            node("Mul", "m zero", "nothing"),
            node("Add", "mean nothing", "logit"),
            node("Concat", "logit logit", "logits", axis=1),
        ],
        ("shape", np.array([1200, 1200])),
        ("zero", np.float32(0)),
    )


def test_the_memory_limit_stops_a_shape_that_is_computed(with_graph: WithGraph) -> None:  # 17
    with load(with_graph(computed_bomb()), "fp32", memory_limit_bytes=64 * 2**20) as engine:
        before = peak_rss_bytes()
        assert engine.forward([[40, 3]])["logits"].shape == (1, 2)
        with pytest.raises(OutOfMemory, match="memory_limit_bytes"):
            engine.forward([[150, 3]])
        assert peak_rss_bytes() - before < 150 * 2**20
        assert engine.forward([[40, 3]])["logits"].shape == (1, 2)


def test_each_engine_has_the_memory_limit_that_it_was_given(with_graph: WithGraph) -> None:
    bundle = with_graph(computed_bomb())
    small = load(bundle, "fp32", memory_limit_bytes=32 * 2**20)
    large = load(bundle, "fp32", memory_limit_bytes=512 * 2**20)
    free = load(bundle, "fp32")
    for engine in (large, free):
        assert engine.forward([[100, 3]])["logits"].shape == (1, 2)
    with pytest.raises(OutOfMemory):
        small.forward([[100, 3]])


def test_the_deadline_stops_a_graph_that_takes_too_long(with_graph: WithGraph) -> None:  # 18, 112
    with load(with_graph(slow(400)), "fp32", timeout_s=0.3) as engine:
        start = time.perf_counter()
        with pytest.raises(DeadlineExceeded, match=r"longer than timeout_s, 0\.3 s"):
            engine("good")
        assert time.perf_counter() - start < 8


def test_the_deadline_holds_for_constants_that_take_too_long_to_compute(
    with_graph: WithGraph, edit_manifest: Callable[..., None]
) -> None:  # 18
    def not_optimized(document: dict[str, Any]) -> None:
        document["variants"][0]["optimized"] = False  # then ONNX Runtime folds constants while it opens the graph

    constants = [
        node("ConstantOfShape", "shape", "m0"),
        *(node("MatMul", f"m{i} m{i}", f"m{i + 1}") for i in range(400)),
        node("ReduceMean", "m400", "m", keepdims=0),
        *HONEST[:2],
        node("Add", "mean m", "logit"),
        node("Concat", "logit logit", "logits", axis=1),
    ]
    bundle = with_graph(model(constants, ("shape", np.array([1200, 1200]))))
    edit_manifest(bundle, not_optimized)
    start = time.perf_counter()
    with load(bundle, "fp32", timeout_s=0.3) as engine, pytest.raises(DeadlineExceeded):
        engine("good")
    assert time.perf_counter() - start < 8


def test_an_engine_within_its_limits_answers_as_without(classifier_bundle: Path) -> None:
    texts = ["a good film", "bad", "the film " * 40]
    with (
        load(classifier_bundle, "fp32", memory_limit_bytes=256 * 2**20, timeout_s=60) as limited,
        load(classifier_bundle, "fp32") as free,
        pytest.warns(UserWarning, match="were cut"),
    ):
        assert limited(texts, top_k=None) == free(texts, top_k=None)


def test_a_graph_too_new_for_this_onnxruntime_says_the_least_version(  # 104
    with_graph: WithGraph, edit_manifest: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MAX_OPSET", 1000)

    def proved_with(document: dict[str, Any]) -> None:
        document["tools"]["onnxruntime"] = "99.1.0"

    bundle = with_graph(model(HONEST, opset=200))
    edit_manifest(bundle, proved_with)
    with pytest.raises(MissingDependency, match=r"opset 200.*At least 99\.1\.0 is needed: pip install") as refused:
        load(bundle, "fp32")
    assert refused.value.exit_code == 3


def test_every_refusal_is_of_our_own_kind(with_graph: WithGraph) -> None:
    data = bytearray(model(HONEST).SerializeToString())
    random = np.random.default_rng(7)
    for _ in range(60):
        flipped = bytearray(data)
        flipped[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        bundle = with_graph(bytes(flipped))
        # Any other error fails the test.
        with (
            contextlib.suppress(EdgePLMError),
            load(bundle, "fp32", memory_limit_bytes=2**28, timeout_s=10) as engine,
        ):
            engine(["good", "a film"])
