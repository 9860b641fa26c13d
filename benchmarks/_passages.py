"""The inputs that benchmarks of precisions give to their candidates: passages and cells of real text, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._common import assets
from edgeplm_runtime.benchmark.protocol import Arrays, feeds_of


CALIBRATION = 128  # passages that static schemes may look at
MAX_TOKENS = 128
BATCH = 32  # of the padded form of the passages

Cell = tuple[int, int]


def write_inputs(source: Path, folder: Path, cells: Sequence[Cell], count: int) -> list[Arrays]:
    """Write the inputs that the candidates are fed from; give the passages, one by one, without padding."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    passages = [feeds_of(np.array([e.ids])) for e in tokenizer.encode_batch(_texts("valid", count))]
    calibration = [feeds_of(np.array([e.ids])) for e in tokenizer.encode_batch(_texts("test", CALIBRATION))]
    _store(folder / "calibration.npz", padded(calibration))
    for position, feeds in enumerate(passages):
        _store(folder / f"passage-{position}.npz", feeds)
        _store(folder / f"alone-{position}.npz", padded([feeds]))
    for position in range(0, count, BATCH):
        _store(folder / f"batch-{position}.npz", padded(passages[position : position + BATCH]))
    for cell in cells:
        _store(folder / f"cell-{cell[0]}x{cell[1]}.npz", feeds_of(_real_ids(calibration, cell)))
    return passages


def _store(path: Path, arrays: Arrays) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def _texts(part: str, count: int) -> list[str]:
    """Paragraphs of WikiText-2 in order, headings left out."""
    lines = (assets() / "data" / "wikitext2" / f"{part}.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("= ")][:count]


def padded(rows: list[Arrays]) -> Arrays:
    """Rows (1, tokens) as one batch (rows, MAX_TOKENS), padded on the right with 0."""
    empty = np.zeros((len(rows), MAX_TOKENS), dtype=np.int64)
    batch = {name: empty.copy() for name in rows[0]}
    for position, row in enumerate(rows):
        for name, values in row.items():
            batch[name][position, : values.shape[1]] = values[0]
    return batch


def _real_ids(rows: list[Arrays], cell: Cell) -> NDArray[np.int64]:
    """Ids (batch, length) cut from real text: what data-dependent kernels meet."""
    stream = np.concatenate([row["input_ids"][0] for row in rows])
    return np.resize(stream, cell).astype(np.int64)
