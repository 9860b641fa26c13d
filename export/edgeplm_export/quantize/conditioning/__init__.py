"""CONDITIONERS: a row per way to make activations easier to round, those that leave most as it is first."""

from __future__ import annotations

from edgeplm_export.quantize.conditioning import outliers, plain, rotation, smoothing, splitting, suppression
from edgeplm_export.quantize.conditioning._conditioner import Conditioned, Conditioner


CONDITIONERS: dict[str, Conditioner] = {
    row.name: row
    for row in (
        plain.CONDITIONER,
        smoothing.CONDITIONER,
        suppression.CONDITIONER,
        splitting.CONDITIONER,
        outliers.CONDITIONER,
        rotation.CONDITIONER,
    )
}


__all__ = ["CONDITIONERS", "Conditioned", "Conditioner"]
