"""The contract of a rewrite row: one change of form that leaves what the graph computes as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """`apply(model)` changes the model in place and gives the number of sites that it changed.

    A rewrite knows operators, never a task or a family: it changes what it can show to be equal and leaves the rest.
    `providers` for which the new form is the faster one. `requires`: what a site must be, one sentence. `ensures`:
    what is true afterwards, one sentence. `gain`: what it was measured to bring, and where that stands.
    """

    name: str
    providers: tuple[str, ...]
    apply: Callable[[ir.Model], int]
    requires: str
    ensures: str
    gain: str
