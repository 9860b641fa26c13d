"""int4-gptq: int4 weights by blocks, rounded so that the calibration data's products change least (GPTQ)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.bits import take_apart, words_for
from edgeplm_export.quantize.calibration import observe
from edgeplm_export.quantize.gptq import gptq
from edgeplm_export.quantize.graph_edit import MICROSOFT, OWN, constant, open_graph, put_instead, save_graph
from edgeplm_export.quantize.sites import find_sites
from edgeplm_export.quantize.tables import quantize_tables


HESSIAN = b"hessian"  # marks it in Wish.memory


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    model = open_graph(source)
    chosen = take_apart(model.graph, wish.high)
    sites = {chosen[str(site.node.name)]: site for site in find_sites(model.graph) if str(site.node.name) in chosen}
    block = int(wish.settings["block"])
    hessians: dict[str, NDArray[np.float64]] = {}

    def add(name: str, rows: NDArray[np.float32]) -> None:
        product = rows.T @ rows
        hessians[name] = hessians[name] + product if name in hessians else product.astype(np.float64)

    unseen = [str(site.source.name) for site in sites.values() if (str(site.source.name), HESSIAN) not in wish.memory]
    if unseen:
        work = target.with_name(f"{target.name}.observed")
        observe(model, unseen, wish.batches, add, work=work, tell=wish.tell)
        wish.memory.update({(name, HESSIAN): hessian for name, hessian in hessians.items()})
    done = {}
    for position, (name, site) in enumerate(sites.items(), 1):
        rows, columns = site.weight.shape
        if rows % block:
            done[name] = f"float32: {rows} rows are no multiple of {block}"
            continue
        wish.tell(f"GPTQ: {position} of {len(sites)}, {name}")
        integers, scales, zeros = gptq(site.weight, wish.memory[str(site.source.name), HESSIAN], block)
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
