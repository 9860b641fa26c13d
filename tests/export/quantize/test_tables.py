"""int8 tables and int4 weights against the numbers they stand for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgeplm_export.quantize.graph_edit import constant
from edgeplm_export.quantize.schemes.int4_gptq import to_int4
from edgeplm_export.quantize.tables import MIDDLE, by_blocks, quantize_tables
from edgeplm_export.quantize.weights import per_column, used_channels


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 63)])
def test_a_column_is_rounded_to_half_of_its_own_step(bits: int, largest: int) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32) * np.logspace(-3, 3, 8, dtype=np.float32)
    integers, scales = per_column(weight, bits)
    assert np.abs(integers).max() == largest
    assert np.all(np.abs(integers * scales - weight) <= scales / 2 * 1.001)


def test_a_column_of_zeros_stays_zero() -> None:
    integers, scales = per_column(np.zeros((4, 2), dtype=np.float32), 8)
    assert not integers.any()
    assert np.all(scales == 1.0)


def test_channels_without_weights_need_no_range() -> None:
    weight = np.ones((3, 2), dtype=np.float32)
    weight[1] = 0
    assert used_channels(weight).tolist() == [True, False, True]
    assert used_channels(np.zeros((3, 2), dtype=np.float32)).all()


@pytest.mark.parametrize("block", [16, 32, 128])
def test_a_row_of_a_table_is_rounded_by_blocks(block: int) -> None:
    table = np.random.default_rng(0).normal(size=(5, 128)).astype(np.float32)
    table[2] = 0
    integers, scales = by_blocks(table, block)
    assert scales.shape == (5, 128 // block)
    back = (integers.astype(np.float32) - MIDDLE).reshape(5, -1, block) * scales[:, :, None]
    assert np.all(np.abs(back.reshape(5, 128) - table).reshape(5, -1, block) <= scales[:, :, None] / 2 * 1.001)


@pytest.mark.parametrize("portable", [False, True])
def test_two_look_ups_in_one_table_share_it_and_have_names_of_their_own(portable: bool) -> None:
    ids = [ir.Value(name=f"ids{i}", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([1, "n"])) for i in (0, 1)]
    graph = ir.Graph(ids, [], nodes=[], opset_imports={"": 17}, name="tables")
    table = constant(graph, "words", np.ones((512, 128), dtype=np.float32))
    found = [ir.node("Gather", [table, at], name=f"look{i}") for i, at in enumerate(ids)]
    graph.extend(found)
    graph.outputs.extend(node.outputs[0] for node in found)
    done = quantize_tables(graph, portable=portable)
    names = [node.name for node in graph]
    assert list(done) == ["words"]
    assert len(set(names)) == len(names)
    assert sum(str(name).endswith(":int8") for name in graph.initializers) == 1


def test_gptq_harms_the_products_less_than_rounding_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(64, 16)).astype(np.float32)
    rows = (random.normal(size=(500, 64)) @ random.normal(size=(64, 64))).astype(np.float32)  # correlated channels

    def error(hessian: np.ndarray) -> float:
        integers, scales, zeros = to_int4(weight, hessian, 16)
        steps = scales.repeat(16, axis=0)
        found = (integers.astype(np.float32) - zeros.repeat(16, axis=0)) * steps
        assert integers.max() <= 15
        return float(((rows @ found - rows @ weight) ** 2).sum())

    nearest = error(np.eye(64) * 1e9)  # without correlations nothing can make up for anything
    assert error((rows.T @ rows).astype(np.float64)) < 0.5 * nearest


def test_gptq_takes_channels_that_were_never_active() -> None:
    hessian = np.zeros((32, 32))
    integers, scales, zeros = to_int4(np.ones((32, 4), dtype=np.float32), hessian, 32)
    assert np.isfinite(scales).all()
    assert np.allclose((integers[0].astype(np.float32) - zeros[0]) * scales[0], 1.0, atol=0.05)
