"""plain: x and W as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner
from edgeplm_export.quantize.sites import Site


def _condition(site: Site, rows: NDArray[np.float32]) -> Conditioned:
    return Conditioned(rows=rows, weight=site.weight, build=lambda: None, words="")


CONDITIONER = Conditioner(name="plain", cost=lambda inputs, outputs: 0.0, condition=_condition)
