"""Embedding tables in int8: most of a small encoder's file is its table of word vectors.

GatherBlockQuantized of ONNX Runtime looks up rows of 8-bit blocks, each with a scale of its own.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize.graph_edit import MICROSOFT, OWN, array_of, constant, insert
from edgeplm_export.quantize.sites import find_tables


BLOCKS = (128, 64, 32, 16)  # what the operator takes, the cheapest first
MIDDLE = 128
LARGEST = 127


def quantize_tables(graph: ir.Graph, *, portable: bool = False) -> dict[str, str]:
    """Store every table that is worth it in int8; gives what became of each, by the table's name.

    `portable`: in standard operators, with one scale a row, for providers that do not know GatherBlockQuantized.
    """
    done: dict[str, str] = {}
    for number, node in enumerate(find_tables(graph)):
        source = node.inputs[0]
        table = array_of(source)
        assert source is not None
        assert table is not None
        block = next((size for size in BLOCKS if table.shape[1] % size == 0), None)
        name = str(source.name)
        label = f"{name}:{number}" if name in done else name  # two look-ups can share a table
        if portable:
            _look_up(graph, node, table, name, label)
            done[name] = "int8 table, a scale a row"
            continue
        if block is None:
            done[name] = f"float32: {table.shape[1]} columns are no multiple of {BLOCKS[-1]}"
            continue
        integers, scales = by_blocks(table, block)
        found = insert(
            node,
            "GatherBlockQuantized",
            [
                constant(graph, f"{OWN}{name}:int8", integers),
                node.inputs[1],
                constant(graph, f"{OWN}{name}:scales", scales),
            ],
            name=f"{label}:rows",
            domain=MICROSOFT,
            attributes={"bits": 8, "block_size": block, "quantize_axis": 1, "gather_axis": 0},
        )
        ir.convenience.replace_all_uses_with(node.outputs[0], found[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        done[name] = f"int8 table, blocks of {block}"
    return done


def _look_up(graph: ir.Graph, node: ir.Node, table: NDArray[np.float32], name: str, label: str) -> None:
    """Gather the row as int8, and its scale, and multiply them; `label` goes into the names of these nodes."""
    scales = np.abs(table).max(axis=1, keepdims=True) / LARGEST
    scales[scales == 0] = 1.0
    integers = np.clip(np.rint(table / scales), -LARGEST, LARGEST).astype(np.int8)
    at = node.inputs[1]
    (row,) = insert(node, "Gather", [constant(graph, f"{OWN}{name}:int8", integers), at], name=f"{label}:row")
    (wide,) = insert(node, "Cast", [row], name=f"{label}:wide", attributes={"to": ir.DataType.FLOAT})
    scale_of = constant(graph, f"{OWN}{name}:scales", scales.astype(np.float32))
    (scale,) = insert(node, "Gather", [scale_of, at], name=f"{label}:scale")
    (found,) = insert(node, "Mul", [wide, scale], name=f"{label}:rows")
    ir.convenience.replace_all_uses_with(node.outputs[0], found, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def by_blocks(table: NDArray[np.float32], block: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Integers (rows, columns) uint8 around 128 and scales (rows, columns / block) float32."""
    rows, columns = table.shape
    parts = table.reshape(rows, columns // block, block)
    scales = np.abs(parts).max(axis=2) / LARGEST
    scales[scales == 0] = 1.0
    integers = np.clip(np.rint(parts / scales[:, :, None]), -LARGEST, LARGEST) + MIDDLE
    return integers.astype(np.uint8).reshape(rows, columns), scales.astype(np.float32)
