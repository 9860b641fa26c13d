"""int4-gptq: int4 weights by blocks, rounded so that the calibration data's products change least (GPTQ)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.bits import take_apart, words_for
from edgeplm_export.quantize.gptq import Floats, Rounding, gptq, hessians
from edgeplm_export.quantize.graph_edit import MICROSOFT, OWN, constant, open_graph, put_instead, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_export.quantize.tables import quantize_tables


LEVELS = 15


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    model = open_graph(source)
    chosen = take_apart(model.graph, wish.high)
    sites = {chosen[str(site.node.name)]: site for site in find_sites(model.graph) if str(site.node.name) in chosen}
    block = int(wish.settings["block"])
    work = target.with_name(f"{target.name}.observed")
    found = hessians(model, [str(site.source.name) for site in sites.values()], wish, work)
    done = {}
    for position, (name, site) in enumerate(sites.items(), 1):
        rows, columns = site.weight.shape
        if rows % block:
            done[name] = f"float32: {rows} rows are no multiple of {block}"
            continue
        wish.tell(f"GPTQ: {position} of {len(sites)}, {name}")
        integers, scales, zeros = to_int4(site.weight, found[str(site.source.name)], block)
        put_instead(
            site.node,
            "MatMulNBits",
            [
                site.source,
                constant(model.graph, f"{OWN}{name}/int4", _packed(integers, block)),
                constant(model.graph, f"{OWN}{name}/int4:scales", scales.T.copy()),
                constant(model.graph, f"{OWN}{name}/int4:zeros", _pairs(zeros.T)),
            ],
            {"K": rows, "N": columns, "bits": 4, "block_size": block, "accuracy_level": 4},
            domain=MICROSOFT,
        )
        done[name] = words_for(4, block, "GPTQ")
    kept = dict.fromkeys(wish.high, "float32: kept high")
    tables = quantize_tables(model.graph)
    save_graph(model, target)
    return Made(sites=done | kept | tables)


def to_int4(
    weight: NDArray[np.float32], hessian: Floats, block: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """4-bit integers (K, N) from 0 to 15, scales and zero points (K / block, N) with weight ≈ (integer - zero) × scale.

    K must be a multiple of `block`.
    """
    grids: list[tuple[NDArray[np.float32], NDArray[np.uint8]]] = []

    def rounding(part: Floats) -> Rounding:
        scale, zero = _grid(part)
        grids.append((scale, zero))
        return lambda row: (np.clip(np.rint(row / scale) + zero, 0, LEVELS) - zero) * scale

    found = gptq(weight, hessian, block, rounding)
    scales, zeros = (np.stack(values) for values in zip(*grids, strict=True))
    integers = np.rint(found / scales.repeat(block, axis=0)) + zeros.repeat(block, axis=0)
    return integers.astype(np.uint8), scales, zeros


def _grid(part: Floats) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scale and zero point of each column of a block, (N,), over its own range and 0."""
    low, high = np.minimum(part.min(axis=0), 0.0), np.maximum(part.max(axis=0), 0.0)
    scale = np.where(high > low, (high - low) / LEVELS, 1.0).astype(np.float32)
    return scale, np.clip(np.rint(-low / scale), 0, LEVELS).astype(np.uint8)


def _packed(integers: NDArray[np.uint8], block: int) -> NDArray[np.uint8]:
    """(K, N) as MatMulNBits reads it: (N, K / block, block / 2) uint8, the even row in the lower half of a byte."""
    rows, columns = integers.shape
    halves = integers.T.reshape(columns, rows // block, block // 2, 2)
    return np.ascontiguousarray(halves[..., 0] | (halves[..., 1] << 4))


def _pairs(zeros: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, blocks) as (N, ⌈blocks / 2⌉) uint8, two zero points a byte, the first one in its lower half."""
    if zeros.shape[1] % 2:
        zeros = np.pad(zeros, ((0, 0), (0, 1)))
    return np.ascontiguousarray(zeros[:, 0::2] | (zeros[:, 1::2] << 4))


SCHEME = Scheme(
    name="int4-gptq",
    precision="int4",
    suffix="_q4_gptq",
    apply=_apply,
    optimized=False,
    calibrated=True,
    settings={"block": (32, 64, 128, 16, 256)},
)
