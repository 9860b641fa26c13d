"""SCHEMES: a row per way to make a variant, in the order in which they are made."""

from __future__ import annotations

from edgeplm_export.quantize import fp16, fp32, int8_dynamic
from edgeplm_export.quantize._scheme import Scheme


SCHEMES: dict[str, Scheme] = {row.precision: row for row in (fp32.SCHEME, fp16.SCHEME, int8_dynamic.SCHEME)}


__all__ = ["SCHEMES", "Scheme"]
