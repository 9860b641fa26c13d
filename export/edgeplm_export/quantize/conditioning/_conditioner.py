"""The contract of a conditioner: a change of x and W that keeps x @ W and makes both easier to round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize.sites import Site


@dataclass(frozen=True, kw_only=True)
class Conditioned:
    """A site after the change, in numbers: what is rounded, and how the graph gets there.

    `rows` (rows, K') float32 stands for x as it reaches the quantizer, `weight` (K', N) for W. `build` edits the
    graph: afterwards the site's own node multiplies these two. `words` are for the manifest.
    """

    rows: NDArray[np.float32]
    weight: NDArray[np.float32]
    build: Callable[[], None]
    words: str


@dataclass(frozen=True, kw_only=True)
class Conditioner:
    """`condition(site, rows)` gives the change for one site, or None where it cannot be made.

    `rows` (rows, K) float32 is a sample of x. `cost(K, N)` is what it adds to a product at run time, in nanoseconds a
    row (token): a model of figures that benchmarks/conditioner_costs.py measured. A model, not a measurement of each
    site, so that the same checkpoint and texts give the same graph every time.
    """

    name: str
    cost: Callable[[int, int], float]
    condition: Callable[[Site, NDArray[np.float32]], Conditioned | None]
