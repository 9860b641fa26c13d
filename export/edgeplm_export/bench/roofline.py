"""What a call has to do at least, and what this machine could do at most: the roofline of a report.

Roofline: Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model", CACM 52(4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_export.bench import peaks
from edgeplm_runtime.benchmark import records
from edgeplm_runtime.benchmark.benchmark import Benchmark


SECONDS = 0.15  # of each shape: a report needs the roof to a few per cent
# The names that families have for the same thing.
LAYERS = ("num_hidden_layers", "n_layers", "n_layer")
HIDDEN = ("hidden_size", "dim", "d_model")
INTERMEDIATE = ("intermediate_size", "hidden_dim", "d_inner")
BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5}  # of a weight, by precision


@dataclass(frozen=True, kw_only=True)
class Work:
    """The matrix products of a BERT-like encoder, from its config."""

    layers: int
    hidden: int
    intermediate: int

    @property
    def weights(self) -> int:
        """How many weights its products read."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)

    def operations(self, batch: int, length: int) -> int:
        """Multiplications and additions of a call: projections, then scores and their sum over the values."""
        tokens = batch * length
        return 2 * (tokens * self.weights + self.layers * 2 * tokens * length * self.hidden)


def measure(made: Benchmark, tell: Callable[[str], None]) -> None:
    """Fill in the peaks and the work of a benchmark; a note where the model does not say how large it is."""
    tell("measuring the peaks of this machine")
    made.peaks = peaks.measure(made.threads, SECONDS, bf16=False)
    work = work_of(made.bundle / "config.json")
    if work is None:
        made.notes.append("no roofline: config.json does not say how many layers the model has, and how wide they are.")
        return
    made.work = records.Work(
        giga_operations={cell.name: work.operations(cell.batch, cell.length) / 1e9 for cell in made.cells},
        weight_bytes={
            one.name: round(work.weights * BYTES.get(one.precision, 4.0)) for one in made.report().candidates
        },
    )


def work_of(config: Path) -> Work | None:
    """The work that a config states; None where it is no transformer encoder that we know how to read."""
    try:
        settings = msgspec.json.decode(config.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    found = [_first(settings, names) for names in (LAYERS, HIDDEN, INTERMEDIATE)]
    layers, hidden, intermediate = found
    if layers is None or hidden is None or intermediate is None:
        return None
    return Work(layers=layers, hidden=hidden, intermediate=intermediate)


def _first(settings: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    values = (settings.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
