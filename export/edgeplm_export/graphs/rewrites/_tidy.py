"""The form in which rewrites meet a graph, and in which they leave it: constants in one place, nothing twice or unused."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import Sequential, common


SMALL_BYTES = 1024  # constants up to this size are compared with each other: axes, shapes, scales
HALF_MEGABYTE = 2**19


def tidy(model: ir.Model) -> None:
    """Lift constants, merge equal ones and equal nodes, drop identities and what nothing reads."""
    Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(size_limit=SMALL_BYTES),
        common.IdentityEliminationPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
    )(model)
