"""The contract of a scheme row: a way to make a variant of another precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """`apply(source, target)` writes the graph in this precision, in the same folder; weights may lie beside it.

    `precision` is the word of the command line, `suffix` the hub's ending of the file name. `optimized` tells
    whether ONNX Runtime may store its optimized form: not where that would undo the precision.
    """

    name: str
    precision: str
    suffix: str
    apply: Callable[[Path, Path], None]
    optimized: bool
