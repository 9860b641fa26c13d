"""The contract of a scheme row: a way to make a variant of another precision. A scheme knows no task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


Feeds = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a scheme is given beside the graph.

    `batches` starts one pass over the calibration data: the graph's inputs, each (rows, tokens) int64. A pass holds
    one batch at a time, so memory stays flat for any amount of text. `high` names the sites that stay in float32.
    `output` is the graph's output that answers, whose error counts; None: all of them.
    `settings` are the scheme's own, by name; `tell` is called with what was done so far. `memory` keeps what was
    observed, so that trying the same scheme with other sites high reads the data once.
    """

    batches: Callable[[], Iterator[Feeds]] | None = None
    high: frozenset[str] = frozenset()
    output: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda message: None
    memory: dict[tuple[str, bytes], Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a scheme made of each site, in words; sites that stayed in float32 begin with "float32"."""

    sites: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """`apply(source, target, wish)` writes the graph in this precision; weights may lie beside it.

    `name` is the word of the command line, `suffix` the hub's ending of the file name. `optimized` tells whether ONNX
    Runtime may store its optimized form: not where that would undo the precision. `calibrated` tells that `batches`
    are needed, `settings` which settings it takes, each with what it may be, the default first. `alone`:
    texts in one call would move each other, as a scale is found over all of them. `providers`: those that it is for,
    first the one that is meant where none is named. `shares_weights`: the graph is written beside the fp32 one, whose
    weights it reads. `takes_high`: a site can stay in float32, because it was asked for or because repair says so.
    """

    name: str
    precision: str
    suffix: str
    apply: Callable[[Path, Path, Wish], Made]
    optimized: bool
    calibrated: bool = False
    alone: bool = False
    settings: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    providers: tuple[str, ...] = ("CPU",)
    shares_weights: bool = False
    takes_high: bool = True

    @property
    def defaults(self) -> dict[str, str | int]:
        """Every setting with its default."""
        return {name: options[0] for name, options in self.settings.items()}
