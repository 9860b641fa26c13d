"""fp32: the rewritten graph as it is."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.quantize._scheme import Made, Scheme, Wish
from edgeplm_export.quantize.graph_edit import open_graph, save_graph


def _apply(source: Path, target: Path, wish: Wish) -> Made:
    save_graph(open_graph(source), target)
    return Made()


SCHEME = Scheme(name="none", precision="fp32", suffix="", apply=_apply, optimized=True)
