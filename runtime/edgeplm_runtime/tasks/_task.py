"""The contract of a task row: what the graph gives, and how an answer is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.bundle.manifest import Manifest


Options = Mapping[str, Any]
# One array for each text, or one array with a row for each.
Rows = Sequence[NDArray[np.float32]] | NDArray[np.float32]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the hub.

    `output` is the graph output that the engine asks for. `padded` tells that this output has a token axis,
    (rows, tokens, …), from which padding is removed before `answers` sees it. `answers(rows, manifest, options)`
    makes an answer of each row of the output, float32; `stack` makes of all answers what a list of inputs
    gets. `options` names the keywords that a call accepts; a call passes on only those that were written,
    after `check(options)` has raised BadInput for values that the task cannot take.
    """

    name: str
    output: str
    answers: Callable[[Rows, Manifest, Options], Sequence[Any] | Rows]
    stack: Callable[[Sequence[Any]], Any]
    padded: bool = False
    options: frozenset[str] = frozenset()
    check: Callable[[Options], None] = lambda options: None
