"""What the candidates are fed: rows of real sentences, cut to the lengths of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeplm_runtime.benchmark.protocol import Arrays
from edgeplm_runtime.engine import Engine
from edgeplm_runtime.errors import BadInput


MAX_BATCH = 10_000
# Written for this file. Their values hardly move the time; answers to them are compared between candidates.
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "The parcel came on Tuesday, two days early, and nothing in it was broken.",
    "Could you tell me how to change the address on my account before the next bill is sent?",
    "The soup was cold, the waiter was rude, and we still had to pay the full price.",
    "Rents in the old harbour district rose faster than wages for the fifth year in a row.",
    "A heron stood in the shallow water and did not move until the boat had passed.",
    "The committee has postponed its decision until the missing reports are in.",
    "I expected little from this film and was moved by every scene of it.",
    "Press and hold the green button for three seconds to start the pump.",
    "Her grandmother kept the seeds of every harvest in glass jars with the year on them.",
    "Flight 482 to Oslo is delayed by 35 minutes; gate B17 opens at 18:40.",
    "The battery lasts for nine hours, or six with the screen at full brightness.",
    "Nobody had told the new owner that the bridge floods each spring.",
    "Two thirds of the samples showed no change after a week at room temperature.",
    "Please find the signed contract and the list of open questions attached.",
    "The choir sang without a conductor, and hardly anyone in the hall coughed.",
)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The rows of a cell: the texts, and the ids that this bundle's tokenizer makes of them, padded to `length`."""

    batch: int
    length: int
    texts: tuple[str, ...]
    arrays: Arrays

    @property
    def name(self) -> str:
        """Like 8x32."""
        return f"{self.batch}x{self.length}"

    def store(self, folder: Path) -> Path:
        """Write them for the candidates' processes."""
        path = folder / f"{self.name}.npz"
        np.savez(path, allow_pickle=False, texts=np.asarray(self.texts), **self.arrays)
        return path


def check_grid(batches: Sequence[int], lengths: Sequence[int], limit: int) -> None:
    """Raise BadInput for rows or tokens that cannot be; `limit` is the most tokens that the model takes."""
    for name, values, most in (("batch", batches, MAX_BATCH), ("length", lengths, limit)):
        if not values:
            raise BadInput(f"there is no {name}; give numbers from 1 to {most}.")
        for value in values:
            if not 1 <= value <= most:
                raise BadInput(f"{name} is {value}; give numbers from 1 to {most}.")


def cell_inputs(engine: Engine, batch: int, length: int) -> Inputs:
    """Rows that start at one sentence after the other and go on with those that follow, cut at `length` tokens."""
    texts = tuple(_row(engine, start, length) for start in range(min(batch, len(SENTENCES))))
    encoded = engine.tokenize([item_of(engine, text) for text in texts])
    ids = np.full((len(texts), length), engine.manifest.text.pad_token_id, dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    left = engine.manifest.text.padding_side == "left"
    for row, one in enumerate(encoded):
        found = np.asarray(one.ids[:length], dtype=np.int64)
        real = slice(length - len(found), length) if left else slice(0, len(found))
        ids[row, real], mask[row, real], types[row, real] = found, 1, one.type_ids[: len(found)]
    where = np.arange(batch) % len(texts)
    arrays = {"input_ids": ids[where], "attention_mask": mask[where], "token_type_ids": types[where]}
    return Inputs(batch=batch, length=length, texts=tuple(texts[i] for i in where), arrays=arrays)


def _row(engine: Engine, start: int, length: int) -> str:
    """Sentences from the given one on, cut where `length` tokens end."""
    order = SENTENCES[start:] + SENTENCES[:start]
    text = " ".join(order)
    while _count(engine, text) < min(length, engine.manifest.text.max_length):
        text += " " + " ".join(order)
    low, high = 0, len(text)  # the search for the longest beginning with at most `length` tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _count(engine, text[:middle]) <= length else (low, middle - 1)
    return text[:low]


def _count(engine: Engine, text: str) -> int:
    """Tokens of the text; one more than the model takes for all that are longer."""
    encoded = engine.tokenize([item_of(engine, text)])[0]
    return len(encoded.ids) + encoded.truncated


def item_of(engine: Engine, text: str) -> Any:
    """What the engine is asked: the text, or for a model that reads pairs only, the text and a second one."""
    return {"text": text, "text_pair": "Yes."} if engine.manifest.text.pairs == "required" else text
