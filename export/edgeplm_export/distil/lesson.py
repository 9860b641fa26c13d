"""What a student learns from: texts as token ids, the teacher's answer to each, labels where there are some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_export.model import TorchModel
from edgeplm_export.quality.data import Example
from edgeplm_export.quality.questions import Question
from edgeplm_export.training.run import Row
from edgeplm_runtime.numerics import Floats


ENCODED_TOGETHER = 1000


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The teacher in torch and all that is learned from it.

    `targets`: the teacher's answers to `examples`, logits (n, labels) or embeddings (n, dim) float32. `question`: what
    the labels of the examples mean; NOTHING for embeddings. `held`: the positions that are kept from training, for
    early stopping and calibration. `cached(name, make)` gives an array that was computed before, or makes it.
    """

    checkpoint: Checkpoint
    teacher: TorchModel
    question: Question
    examples: Sequence[Example]
    targets: Floats
    held: frozenset[int]
    max_length: int
    cached: Callable[[str, Callable[[], Floats]], Floats]
    progress: Callable[[str], None]
    losses: tuple[str, ...] = ()
    temperature: float = 2.0
    gold_weight: float = 0.2
    _rows: list[Row] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """Every example as a row of a batch: ids, type ids where the teacher reads them, target, gold, known."""
        if not self._rows:
            self._rows.extend(self._encode())
        return self._rows

    def split(self) -> tuple[list[Row], list[Row]]:
        """The rows to train on, and the held-out ones."""
        rows = self.rows()
        return (
            [row for position, row in enumerate(rows) if position not in self.held],
            [rows[position] for position in sorted(self.held)],
        )

    def _encode(self) -> list[Row]:
        tokenizer = self.teacher.tokenizer
        types = "token_type_ids" in self.teacher.forward.inputs
        prompt = self.teacher.prompts.get(self.teacher.default_prompt or "", "")
        rows: list[Row] = []
        for start in range(0, len(self.examples), ENCODED_TOGETHER):
            part = self.examples[start : start + ENCODED_TOGETHER]
            pairs = [example.text_pair for example in part]
            found = tokenizer(
                [prompt + example.text for example in part],
                None if pairs[0] is None else pairs,
                truncation=True,
                max_length=self.max_length,
                return_token_type_ids=types,
                verbose=False,
            )
            for index, example in enumerate(part):
                row: Row = {"input_ids": found["input_ids"][index], "target": self.targets[start + index]}
                if types:
                    row["token_type_ids"] = found["token_type_ids"][index]
                if self.question is not Question.NOTHING:
                    row["gold"], row["known"] = self._gold(example)
                rows.append(row)
        return rows

    def _gold(self, example: Example) -> tuple[NDArray[np.float32], np.float32]:
        """The label as a vector (labels,), and 1, or zeros and 0 for an example without one."""
        gold = np.zeros(self.targets.shape[1], dtype=np.float32)
        label: Any = example.label
        if label is None:
            return gold, np.float32(0)
        if self.question is Question.VALUES:
            gold[0] = label
        else:
            gold[list(label) if isinstance(label, frozenset) else [label]] = 1
        return gold, np.float32(1)
