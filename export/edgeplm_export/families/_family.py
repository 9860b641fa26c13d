"""The contract of a family row: the facts that one architecture needs for a good export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is special about a `model_type`.

    `model_type` as config.json names it. `attention`: the attention implementation to trace; "eager" gives
    the form that the fusion recognizes, None leaves the model's own. `fuses_attention`: how many attention
    operators one layer should become, 0 where no fusion knows the form. `positions_after_padding`: position
    ids start after the padding id, so that the position table has fewer usable rows.
    """

    model_type: str
    attention: str | None = "eager"
    fuses_attention: int = 0
    positions_after_padding: bool = False

    def position_offset(self, config: Any) -> int:
        """Rows at the start of the position table that no token uses."""
        return int(config.pad_token_id) + 1 if self.positions_after_padding else 0
