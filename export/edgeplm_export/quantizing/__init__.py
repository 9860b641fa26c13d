"""quantize(): add variants to a bundle, each proved against fp32 and judged on data, or leave it as it was."""

from __future__ import annotations

from edgeplm_export.quantizing.attempt import Attempt
from edgeplm_export.quantizing.step import NothingWritten, QuantizeResult, quantize


__all__ = ["Attempt", "NothingWritten", "QuantizeResult", "quantize"]
