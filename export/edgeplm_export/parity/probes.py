"""What the parity gate asks: a grid of batches and lengths on token ids, and texts that break tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from edgeplm_runtime.probe import IdsCell, TextCell


BATCHES = (1, 2, 5)
LENGTHS = (1, 2, 7, 37)  # and the model's maximum
GRID_TOKENS = 8192  # a cell of several rows has no more: eager attention at 5 × 8192 takes 16 GB in each layer

# Real sentences first: the canary is taken from them.
PLAIN = (
    "The quick brown fox jumps over the lazy dog.",
    "What is the capital of France?",
    "I would not recommend this film to anyone; two hours of my life that I will never get back.",
)
NASTY = (
    "",
    " ",
    "\n\t  \r\n",
    "a",
    "Ünïcödé façade, naïve café, Straße, İstanbul, ﬁne ligature",
    "e\u0301 a\u0308\u0323 \u1112\u1161\u11ab o\u0337\u0334\u0336",  # combining marks, conjoining jamo
    "你好，世界。今天天气很好。",
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "שלום עולם नमस्ते दुनिया สวัสดีชาวโลก こんにちは 안녕하세요",
    "emoji 😀👍🏽👩‍👩‍👧‍👦🇫🇷 \U0001f9d1\U0001f3ff\u200d\U0001f680",
    "control \x00 NUL \x01\x02\x07\x1b[31m\x7f \x85 end",
    "zero\u200bwidth\u200djoin\u2060er \ufeffBOM \u202eright-to-left\u202c \ufffd \ue000",
    "[CLS] [SEP] [MASK] <s> </s> <pad> <unk> <mask> special words as text",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "https://example.org/a?b=c&d=%20#e user@example.org 3.14e-10 $1,000.00 C:\\path\\file",
    "MiXeD CaSe WITH   many    spaces\u00a0and\u3000wide ones",
    "word " * 40,
    "long text " * 400,
)
STREAM = (*PLAIN, *NASTY[4:9])
PAIRS = (
    ("A man is playing a guitar.", "Someone makes music."),
    ("", "only the second text is there"),
    ("only the first text is there", ""),
    ("你好 😀", "café \x00 مرحبا"),
    ("first text " * 200, "short"),
    ("short", "second text " * 200),
)


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """All cells of one gate run."""

    ids: tuple[IdsCell, ...]
    texts: tuple[TextCell, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the grid depends on: the model's limits, and `stream`, the token ids of STREAM, special ones with them."""

    stream: Sequence[int]
    max_length: int
    pairs: Literal["optional", "required", "refused"]
    padding_side: str
    pad_token_id: int


def make_probes(model: Asked) -> Probes:
    """The grid for this model: ids up to its own maximum; pairs where the task has them."""
    lengths = sorted({*(n for n in LENGTHS if n < model.max_length), model.max_length})
    grid = []
    for batch in BATCHES:
        for length in lengths:
            if batch > 1 and batch * length > GRID_TOKENS:
                continue
            grid.append(_ids_cell(model, batch, length, mixed=False))
            if batch > 1 and length > 1:
                grid.append(_ids_cell(model, batch, length, mixed=True))
    singles: list[Any] = [{"text": text} for text in (*PLAIN, *NASTY)]
    pairs: list[Any] = [{"text": a, "text_pair": b} for a, b in PAIRS]
    texts = []
    if model.pairs != "required":
        texts += [TextCell(name="texts, one by one", items=(item,)) for item in singles]
        texts.append(TextCell(name="texts, one batch", items=tuple(singles)))
    if model.pairs != "refused":
        texts += [TextCell(name="pairs, one by one", items=(item,)) for item in pairs]
        texts.append(TextCell(name="pairs, one batch", items=tuple(pairs)))
    return Probes(ids=tuple(grid), texts=tuple(texts))


def _ids_cell(model: Asked, batch: int, length: int, *, mixed: bool) -> IdsCell:
    """Real token ids cut to `length`; with `mixed`, every row but the first is shorter and padded."""
    stream = list(model.stream) * (batch * length // max(1, len(model.stream)) + 2)
    ids, mask = [], []
    left = model.padding_side == "left"
    for row in range(batch):
        real = max(1, length - row * max(1, length // batch)) if mixed and row else length
        tokens = tuple(stream[row * 3 : row * 3 + real])
        padding = (model.pad_token_id,) * (length - real)
        ids.append(padding + tokens if left else tokens + padding)
        mask.append((0,) * len(padding) + (1,) * real if left else (1,) * real + (0,) * len(padding))
    kind = "mixed lengths" if mixed else "full"
    return IdsCell(name=f"ids {batch}x{length} {kind}", ids=tuple(ids), mask=tuple(mask))
