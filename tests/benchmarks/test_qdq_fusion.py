"""What benchmarks/qdq_fusion.py makes of OpenVINO's list of nodes."""

from __future__ import annotations

import pytest

from benchmarks.qdq_fusion import summary


def row(kind: str, precision: str, nodes: int, ms: float) -> dict[str, object]:
    """A row as benchmarks/peers/openvino_nodes.py gives it."""
    return {"type": kind, "precision": precision, "kernel": "", "gives": "", "nodes": nodes, "ms": ms}


def test_products_are_counted_by_precision_over_all_kernels() -> None:
    rows = [
        row("FullyConnected", "u8", 18, 3.0),
        row("FullyConnected", "u8", 12, 2.0),
        row("FullyConnected", "f32", 4, 1.0),
        row("Subgraph", "i8", 6, 1.0),
        row("FakeQuantize", "f32", 4, 0.5),
        row("Convert", "i8", 2, 0.5),
    ]
    found = summary(rows)
    assert found["products"] == {"FullyConnected u8": 30, "FullyConnected f32": 4, "Subgraph i8": 6}
    assert found["alone to int8"] == 4
    assert found["conversions"] == 2
    assert found["ms"] == 8.0
    assert found["share in int8"] == pytest.approx(6.5 / 8)


def test_a_graph_without_nodes_has_no_share() -> None:
    assert summary([])["share in int8"] == 0.0
