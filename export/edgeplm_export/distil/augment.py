"""Further texts made of those that there are (Tang et al. 2019, arXiv:1903.12136; Jiao et al. 2019, arXiv:1909.10351).

Each new text comes from one text: some words are masked, or replaced by what a masked language model puts there, or
an n-gram of its words stands for all of them. The teacher answers them like any other; they have no label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeplm_export.model import TorchModel, blamed_on
from edgeplm_export.quality.data import Example
from edgeplm_runtime.errors import BadInput


REPLACED = 0.15  # of the words; TinyBERT replaces 0.4 of them with a word of its own model
NGRAM = 0.25  # of the new texts are n-grams (Tang et al.: p_ng = 0.25)
SHORTEST, LONGEST = 3, 12  # words of an n-gram
LIKELY = 10  # words of the masked language model's list that one is drawn from
TOGETHER = 64
WORD = re.compile(r"\S+")


def augmented(
    model: TorchModel,
    examples: Sequence[Example],
    *,
    share: float,
    masked_model: str | None,
    seed: int,
    progress: Callable[[str], None],
) -> list[Example]:
    """`share` × as many new examples, without labels, none equal to an old one. Raises BadInput, BadCheckpoint."""
    if not 0 <= share <= 100:
        raise BadInput(f"augment is {share}; give how many new texts to make for each text, from 0 to 100.")
    count = round(share * len(examples))
    if not count:
        return []
    random = np.random.default_rng(seed)
    fill = _masked(masked_model, random, progress) if masked_model is not None else _mask_word(model)
    picked = [examples[i] for i in random.integers(0, len(examples), count)]
    progress(f"making {count} further texts")
    made: list[Example] = []
    for start in range(0, count, TOGETHER):
        part = picked[start : start + TOGETHER]
        texts = [example.text for example in part]
        whole = [i for i, text in enumerate(texts) if random.random() >= NGRAM or len(text.split()) <= SHORTEST]
        changed = fill([texts[i] for i in whole], [_chosen(texts[i], random) for i in whole])
        for i, text in enumerate(texts):
            texts[i] = changed[whole.index(i)] if i in whole else _ngram(text, random)
        made += [
            Example(text=t, text_pair=e.text_pair, label=None, row=e.row) for t, e in zip(texts, part, strict=True)
        ]
    old = {(example.text, example.text_pair) for example in examples}
    return list({(e.text, e.text_pair): e for e in made if (e.text, e.text_pair) not in old and e.text}.values())


def _ngram(text: str, random: np.random.Generator) -> str:
    words = text.split()
    size = int(random.integers(SHORTEST, min(LONGEST, len(words)) + 1))
    start = int(random.integers(0, len(words) - size + 1))
    return " ".join(words[start : start + size])


def _chosen(text: str, random: np.random.Generator) -> list[int]:
    """Positions of the words to replace: a share of them, one at least where there is a word."""
    count = len(WORD.findall(text))
    if not count:
        return []
    found = np.flatnonzero(random.random(count) < REPLACED)
    return found.tolist() or [int(random.integers(0, count))]


def _replace(text: str, places: Sequence[int], words: Sequence[str]) -> str:
    """The text with other words at these places; all else, white space too, as it was."""
    by_place = dict(zip(places, words, strict=True))
    number = -1

    def other(match: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return by_place.get(number, match[0])

    return WORD.sub(other, text)


Fill = Callable[[list[str], list[list[int]]], list[str]]


def _mask_word(model: TorchModel) -> Fill:
    """Tang et al.'s masking: the tokenizer's own mask, or its unknown word where it has none."""
    mask = model.tokenizer.mask_token or model.tokenizer.unk_token
    if mask is None:
        raise BadInput("this teacher's tokenizer has no mask and no unknown word; augment needs one of them.")
    return lambda texts, places: [_replace(t, p, [mask] * len(p)) for t, p in zip(texts, places, strict=True)]


def _masked(name: str, random: np.random.Generator, progress: Callable[[str], None]) -> Fill:
    """Words that a masked language model finds likely at that place."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    progress(f"reading the masked language model {name}")
    with blamed_on(f"{name} cannot be loaded as a masked language model"):
        tokenizer: Any = AutoTokenizer.from_pretrained(name, local_files_only=True)
        model: Any = AutoModelForMaskedLM.from_pretrained(name, local_files_only=True, use_safetensors=True).eval()
    if tokenizer.mask_token is None:
        raise BadInput(f"{name} has no mask token, so it cannot say what stands at a place.")

    def fill(texts: list[str], places: list[list[int]]) -> list[str]:
        masked = [_replace(t, p, [tokenizer.mask_token] * len(p)) for t, p in zip(texts, places, strict=True)]
        if not masked:
            return []
        batch = tokenizer(masked, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            likely = model(**batch).logits.topk(LIKELY, dim=-1).indices  # (batch, tokens, LIKELY)
        found = []
        for row, (text, where) in enumerate(zip(texts, places, strict=True)):
            holes = (batch["input_ids"][row] == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
            words = [tokenizer.decode([int(likely[row, hole, random.integers(0, LIKELY)])]).strip() for hole in holes]
            kept = where[: len(words)]  # the rest was cut
            found.append(_replace(text, kept, [word or text.split()[0] for word in words[: len(kept)]]))
        return found

    return fill
