"""What the int8 schemes share: condition the sites, find static ranges, and put the int8 products in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeplm_export.quantize import activations
from edgeplm_export.quantize._scheme import Made, Wish
from edgeplm_export.quantize.calibration import Reservoir, observe
from edgeplm_export.quantize.conditioning import CONDITIONERS, Conditioned
from edgeplm_export.quantize.graph_edit import open_graph, save_graph
from edgeplm_export.quantize.ranges import RANGES, Summary
from edgeplm_export.quantize.rounding import product_offsets
from edgeplm_export.quantize.sites import Site, find_sites
from edgeplm_export.quantize.split_attention import split_attention
from edgeplm_export.quantize.tables import quantize_tables
from edgeplm_export.quantize.weights import WEIGHT_BITS, used_channels


# A dearer conditioner is taken where it makes the error of a site's product this much smaller than a cheaper one.
WORTH = 1.5
# Below this share of the product's size the error is that of the int8 weights: nothing is left to gain.
GOOD_ENOUGH = 1e-4
Form = Literal["fused", "rows"]
KEPT = "float32: kept high"
ROWS = b"rows"  # marks a sample of rows in Wish.memory, beside the summaries


def make_int8(
    source: Path, target: Path, wish: Wish, *, conditioners: Sequence[str], ranges: str | None, form: Form = "fused"
) -> Made:
    """The graph with every site in int8 but those of `wish.high`, and its tables.

    `conditioners`: the ones to choose from, site by site. `ranges`: the method for static scales; None for dynamic
    ones. `form`: "fused" operators of ONNX Runtime's CPU, or "rows" with a dynamic scale for each row. The setting
    `weight_bits` is 8 where a scheme has none. Raises BadInput
    (no calibration data where it is needed), GateFailed.
    """
    bits = int(wish.settings.get("weight_bits", WEIGHT_BITS[0]))
    model = open_graph(source)
    graph = model.graph
    work = target.with_name(f"{target.name}.observed")
    for site in find_sites(graph):
        # QAttention has one scale and no bias of the scores.
        fits = form == "fused" and activations.fits_qattention(site.node)
        if site.is_attention and site.name not in wish.high and not fits:
            split_attention(site.node)
    found = find_sites(graph)
    sites = [site for site in found if site.name not in wish.high]
    told = {site.name: KEPT for site in found if site.name in wish.high}
    if list(conditioners) != ["plain"]:
        chosen = condition(model, sites, conditioners, wish, work, bits=bits)
        told |= {name: option.words for name, option in chosen.items() if option.words}
    if ranges is not None:
        for site, (low, high) in zip(sites, found_ranges(model, sites, ranges, wish, work), strict=True):
            activations.multiply(site, activations.static(site, low, high), bits)
    for site in sites:
        if form == "rows":
            activations.multiply_rows(site, bits)
        elif ranges is None:
            activations.multiply(site, activations.dynamic(site), bits)
    kind = "a scale a row" if form == "rows" else "static" if ranges is not None else "dynamic"
    if bits != WEIGHT_BITS[0]:
        kind += f", {bits}-bit weight"
    done = {site.name: ", ".join(filter(None, [f"int8 {kind}", told.get(site.name)])) for site in sites}
    done |= {name: words for name, words in told.items() if words == KEPT}
    tables = quantize_tables(graph)
    save_graph(model, target)
    return Made(sites=done | tables)


def condition(
    model: ir.Model,
    sites: Sequence[Site],
    names: Sequence[str],
    wish: Wish,
    work: Path,
    *,
    bits: int,
    enough: float = GOOD_ENOUGH,
    rotated: Callable[[Site], bool] = lambda site: False,
) -> dict[str, Conditioned]:
    """Give each site the conditioner of least cost that is about as good as the best; the graph's answers stay.

    Where the error of the least costly one is below `enough`, no dearer one is taken. Sites for which `rotated` holds
    have no choice: they are rotated.
    """
    if set(names) != {"rotation"}:
        sample = Reservoir()
        unseen = [str(site.source.name) for site in sites if (str(site.source.name), ROWS) not in wish.memory]
        if unseen:
            observe(model, unseen, wish.batches, sample, work=work, tell=wish.tell)
        wish.memory.update({(name, ROWS): rows for name, rows in sample.rows().items()})
    done = {}
    for site in sites:
        none = np.zeros((1, site.weight.shape[0]), dtype=np.float32)
        choice = ("rotation",) if rotated(site) else names
        chosen = _best(site, wish.memory.get((str(site.source.name), ROWS), none), choice, bits, enough)
        if chosen is not None:
            chosen.build()
            done[site.name] = chosen
    return done


def _best(site: Site, rows: NDArray[np.float32], names: Sequence[str], bits: int, enough: float) -> Conditioned | None:
    found = {name: CONDITIONERS[name].condition(site, rows) for name in CONDITIONERS if name in names}
    options = {name: option for name, option in found.items() if option is not None}
    if len(options) < 2:
        return next(iter(options.values()), None)
    exact = rows @ site.weight
    errors = {name: product_error(option, exact, bits) for name, option in options.items()}
    limit = max(min(errors.values()) * WORTH, enough)
    good = [name for name, error in errors.items() if error <= limit]
    return options[min(good, key=lambda name: CONDITIONERS[name].cost(*site.weight.shape))]


def product_error(option: Conditioned, whole: NDArray[np.float32], bits: int) -> float:
    """Squared error of the int8 product relative to the exact one, (rows, N), for a static scale over these rows."""
    used = used_channels(option.weight)
    summary = Summary()
    summary.add(option.rows[:, used])
    off = product_offsets(option.rows, option.weight, *RANGES["mse"](summary), bits)
    return float((off**2).sum() / max(float((whole**2).sum()), 1e-30))


def found_ranges(
    model: ir.Model, sites: Sequence[Site], method: str, wish: Wish, work: Path
) -> list[tuple[float, float]]:
    """The range of what each site reads, in their order. Sites that read the same value share its range."""
    used: dict[str, NDArray[np.bool_]] = {}
    for site in sites:
        name, channels = str(site.source.name), used_channels(site.weight)
        used[name] = used[name] | channels if name in used else channels
    found = summaries(model, used, wish, work)
    return [RANGES[method](found[str(site.source.name)]) for site in sites]


def summaries(model: ir.Model, used: Mapping[str, NDArray[np.bool_]], wish: Wish, work: Path) -> dict[str, Summary]:
    """What calibration tells of each named value, of the channels of it that are used."""
    unseen = {name: Summary() for name in used if (name, used[name].tobytes()) not in wish.memory}

    def add(name: str, rows: NDArray[np.float32]) -> None:
        unseen[name].add(rows[:, used[name]])

    if unseen:
        observe(model, list(unseen), wish.batches, add, work=work, tell=wish.tell)
        wish.memory.update({(name, used[name].tobytes()): summary for name, summary in unseen.items()})
    return {name: wish.memory[name, channels.tobytes()] for name, channels in used.items()}
