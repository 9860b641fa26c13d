"""From calibration texts to the graph's inputs, a batch at a time: memory stays flat for any amount of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from edgeplm_export.quantize import Feeds
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.numerics import pad
from edgeplm_runtime.scheduling.buckets import plan
from edgeplm_runtime.text.items import Item
from edgeplm_runtime.text.tokenizer import Tokenizer


WINDOW = 256  # texts that are sorted by length at once
TOKEN_BUDGET = 512  # the values of every site of a batch are held together: 100 MB for a BERT-base


def feed(bundle: Bundle, texts: Callable[[], Iterator[dict[str, str]]]) -> Callable[[], Iterator[Feeds]]:
    """A function that starts one pass over the texts, as batches of (rows, tokens) int64 inputs."""
    text = bundle.manifest.text
    tokenizer = Tokenizer(bundle.path(text.tokenizer), text)
    prompt = text.prompts.get(text.default_prompt or "", "")
    left = text.padding_side == "left"

    def batches() -> Iterator[Feeds]:
        source = texts()
        start = 0
        while window := list(islice(source, WINDOW)):
            encoded = tokenizer.encode(
                [
                    Item(text=prompt + row["text"], text_pair=row.get("text_pair"), position=start + i)
                    for i, row in enumerate(window)
                ]
            )
            start += len(window)
            for batch in plan([len(one.ids) for one in encoded], budget=TOKEN_BUDGET):
                ids = [encoded[i].ids or [text.pad_token_id] for i in batch]
                yield {
                    "input_ids": pad(ids, text.pad_token_id, left=left),
                    "attention_mask": pad([[1] * len(row) for row in ids], 0, left=left),
                    "token_type_ids": pad(
                        [encoded[i].type_ids or [0] for i in batch], text.pad_token_type_id, left=left
                    ),
                }

    return batches
