"""Run one bundle on given probes in a process that cannot import torch, and write down all it gave.

The export side's parity gate starts this module (`python -m edgeplm_runtime.probe JOB RESULT`); so the proof
is of the very engine that runs on a device. JOB and RESULT are msgpack files.
"""

from __future__ import annotations

import importlib.abc
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np


FORBIDDEN = ("torch", "transformers", "sentence_transformers", "onnx", "optimum", "scipy", "sklearn", "tensorflow")


class IdsCell(msgspec.Struct, frozen=True, kw_only=True):
    """Token ids and mask, each (rows, tokens), given to the graph as they are."""

    name: str
    ids: tuple[tuple[int, ...], ...]
    mask: tuple[tuple[int, ...], ...]


class TextCell(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs given to the engine in one call: {"text": …} or {"text": …, "text_pair": …} each."""

    name: str
    items: tuple[dict[str, str], ...]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: a bundle, one of its variants, and the cells. `outputs` are the graph outputs to compare."""

    bundle: str
    variant: str
    outputs: tuple[str, ...]
    ids: tuple[IdsCell, ...]
    texts: tuple[TextCell, ...]
    stable: bool = True
    provider: str = "auto"


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokenizer made of one input."""

    ids: list[int]
    mask: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    truncated: bool


class Array(msgspec.Struct, frozen=True, kw_only=True):
    """A float32 array, row-major."""

    shape: tuple[int, ...]
    data: bytes


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine gave for one text cell: tokens and answer of each input; arrays in place of numpy ones."""

    tokens: list[Tokens]
    answers: list[Any]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One entry for each cell of the job, in order; `modules` are the top-level modules that were loaded."""

    ids: list[dict[str, Array]]
    texts: list[Answered]
    isa: tuple[str, ...]
    modules: list[str]


class Blocker(importlib.abc.MetaPathFinder):
    """Refuses the import of every build-side package."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise ImportError for a forbidden package; otherwise leave the search to the other finders."""
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} may not be imported on the device side")


def array(value: Any) -> Array:
    """The record of a numpy array."""
    wide = np.ascontiguousarray(value, dtype=np.float32)
    return Array(shape=wide.shape, data=wide.tobytes())


def run(job: Job) -> Result:
    """Answer every cell with the real engine."""
    from edgeplm_runtime.engine import load
    from edgeplm_runtime.machine import describe

    with load(job.bundle, job.variant, job.provider, stable=job.stable, profile="off") as engine:
        ids = []
        for cell in job.ids:
            found = engine.forward(cell.ids, cell.mask, outputs=job.outputs)
            ids.append({name: array(value) for name, value in found.items()})
        texts = []
        for text_cell in job.texts:
            items = list(text_cell.items)
            tokens = [
                Tokens(ids=e.ids, mask=e.mask, type_ids=e.type_ids, offsets=e.offsets, truncated=e.truncated)
                for e in engine.tokenize(items)
            ]
            answers = [d.answer for d in engine(items, details=True, **_every_answer(engine.task.options))]
            texts.append(
                Answered(tokens=tokens, answers=[array(a) if isinstance(a, np.ndarray) else a for a in answers])
            )
    return Result(
        ids=ids,
        texts=texts,
        isa=describe().isa,
        modules=sorted({name.partition(".")[0] for name in sys.modules}),
    )


def _every_answer(options: frozenset[str]) -> dict[str, Any]:
    """Ask for all labels where the task has a top_k."""
    return {"top_k": None} if "top_k" in options else {}


def main(arguments: Sequence[str]) -> None:
    """JOB RESULT: read the one, write the other."""
    sys.meta_path.insert(0, Blocker())
    warnings.simplefilter("ignore")
    source, target = map(Path, arguments)
    target.write_bytes(msgspec.msgpack.encode(run(msgspec.msgpack.decode(source.read_bytes(), type=Job))))


if __name__ == "__main__":
    main(sys.argv[1:])
