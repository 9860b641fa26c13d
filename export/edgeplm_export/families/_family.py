"""The contract of a family row: the facts that one architecture needs for a good export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is special about a `model_type`.

    `model_type` as config.json names it. `attention`: the attention implementation to trace; None
    leaves the model's own. `fuses_attention`: how many attention operators one layer should become; 0 where its
    attention is more than one operator computes, None where nobody has looked. `position_offset` gives, for a
    config, the rows at the start of the position table that no token uses.
    """

    model_type: str
    attention: str | None = "eager"
    fuses_attention: int | None = None
    position_offset: Callable[[Any], int] = lambda config: 0
