"""The tensors of a graph: what they claim is held against the bytes that are there, inside and outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgeplm_runtime.bundle.scan import scan_graph
from edgeplm_runtime.errors import BadBundle


FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
SIZES = {"model.onnx.data": 64}
ADD_W = helper.make_node("Add", ["x", "w"], ["y"], name="make y")


def model(nodes: list[Any], initializers: list[Any]) -> Any:
    inputs, outputs = ([helper.make_tensor_value_info(name, FLOAT, None)] for name in "xy")
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def external(location: str | None, offset: str | None = "0", length: str | None = "64") -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return tensor


def with_tensor(**fields: Any) -> Any:
    return model([ADD_W], [TensorProto(name="w", **fields)])


def tensor_at(location: str | None, offset: str | None = "0", length: str | None = "64") -> Any:
    return model([ADD_W], [external(location, offset, length)])


def external_constant() -> Any:
    tensor = external("../secret")
    return model([helper.make_node("Constant", [], ["w"], name="make w", value=tensor), ADD_W], [])


def sparse_initializer() -> Any:
    sparse = model([ADD_W], [])
    sparse.graph.sparse_initializer.add(dims=[2**31, 2**31])
    return sparse


def sparse_constant() -> Any:
    value = onnx.SparseTensorProto(dims=[2**40])
    return model([helper.make_node("Constant", [], ["w"], sparse_value=value)], [])


def packed_dims() -> bytes:
    # 100 000 axes of 2**63 - 1: their product alone would take minutes. onnx.helper writes no packed dims.
    tensor = _field(1, (b"\xff" * 8 + b"\x7f") * 100_000) + b"\x10\x01" + _field(8, b"w")
    return b"\x08\x0a" + _field(7, _field(5, tensor)) + _field(8, b"\x10\x14")


def _field(number: int, content: bytes) -> bytes:
    length = len(content)
    return bytes([number << 3 | 2, *(length >> shift & 127 | 128 for shift in (0, 7, 14)), length >> 21]) + content


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    # tensors
    "dims of 2^31 times 2^31": (
        lambda: with_tensor(data_type=FLOAT, dims=[2**31, 2**31], raw_data=b"1234"),
        f"initializer 'w' has dims .*{2**64} bytes; at most",
    ),
    "a negative dim": (lambda: with_tensor(data_type=FLOAT, dims=[-1, -4], raw_data=b"\0" * 16), "negative"),
    "100 000 axes": (packed_dims, "more than 64 axes"),
    "too little raw data": (
        lambda: with_tensor(data_type=FLOAT, dims=[4], raw_data=b"\0" * 15),
        "'w' has 15 bytes of raw_data.*need 16",
    ),
    "too much raw data": (lambda: with_tensor(data_type=FLOAT, dims=[4], raw_data=b"\0" * 17), "need 16"),
    "too few numbers": (
        lambda: with_tensor(data_type=FLOAT, dims=[1000], float_data=[1.0]),
        "1000 elements, and data for at most 1",
    ),
    "too few integers": (lambda: with_tensor(data_type=INT64, dims=[9], int64_data=[1, 2]), "9 elements"),
    "too few strings": (
        lambda: with_tensor(data_type=TensorProto.STRING, dims=[9], string_data=[b"a"]),
        "9 strings, and holds 1",
    ),
    "no data at all": (lambda: with_tensor(data_type=FLOAT, dims=[4]), "data for at most 0"),
    "a data type of the future": (lambda: with_tensor(data_type=99, dims=[1], raw_data=b"1"), "data type 99"),
    "a sparse initializer": (sparse_initializer, "sparse tensor"),
    "a sparse constant": (sparse_constant, "sparse tensor"),
    # external data
    "a parent folder": (lambda: tensor_at("../model.onnx.data"), "'w' .*leads out of the graph's folder"),
    "a parent folder within": (lambda: tensor_at("a/../../b"), "leads out of the graph's folder"),
    "an absolute location": (lambda: tensor_at("/etc/passwd"), "'/etc/passwd', which is absolute"),
    "a drive letter": (lambda: tensor_at("C:/secret"), "is absolute"),
    "a backslash": (lambda: tensor_at("..\\secret"), "a backslash"),
    "a NUL": (lambda: tensor_at("model.onnx.data\0.txt"), "a backslash or a NUL"),
    "the folder itself": (lambda: tensor_at("./."), "leads out of"),
    "no location": (lambda: tensor_at(None), "is empty"),
    "a location in memory": (lambda: tensor_at("*/_ORT_MEM_ADDR_/*"), "is not there"),
    "a missing file": (lambda: tensor_at("other.data"), "'other.data', which is not there"),
    "a file too short": (lambda: tensor_at("model.onnx.data", "4"), "ends at byte 68 .*only 64 bytes"),
    "a file too short, with no length": (lambda: tensor_at("model.onnx.data", "4", None), "ends at byte 68"),
    "a wrong length": (lambda: tensor_at("model.onnx.data", "0", "60"), "length of 60 bytes .*need 64"),
    "a negative offset": (lambda: tensor_at("model.onnx.data", "-4"), "offset '-4', which is negative"),
    "an offset that is no number": (lambda: tensor_at("model.onnx.data", "1_0"), "is not a number"),
    "an external constant": (external_constant, "make w.*leads out of the graph's folder"),
}


@pytest.mark.parametrize(("build", "found"), FAULTS.values(), ids=FAULTS)
def test_the_fault_is_named(build: Callable[[], Any], found: str) -> None:
    built = build()
    data = built if isinstance(built, bytes) else built.SerializeToString()
    with pytest.raises(BadBundle, match=found) as refused:
        scan_graph(data, name="model.onnx", external_sizes=SIZES)
    assert str(refused.value).startswith("model.onnx: ")
    assert len(str(refused.value)) < 3000


def test_weights_in_the_file_beside_the_graph_pass() -> None:
    for location in ("model.onnx.data", "./model.onnx.data"):
        data = tensor_at(location, "0", None).SerializeToString()
        facts = scan_graph(data, name="model.onnx", external_sizes=SIZES)
        assert facts.external_locations == ("model.onnx.data",)
