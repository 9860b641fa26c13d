"""A tokenizer's ids for plain texts, from a table of the words that were met before.

BERT's tokenizers split a text at blanks and punctuation, and each word by itself: the ids of an ASCII text are those of
its words, one after the other. Looking words up takes 4 µs a text where the library takes 60 (decisions/0027). Every
other tokenizer, and every text that is not plain, is left to the library; so are offsets.
"""

from __future__ import annotations

import re
from itertools import chain

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers


# Printable ASCII and the blanks that the normalizer takes for spaces; other control characters it takes out.
PLAIN = re.compile(r"[\t\n\r -~]*")
# As BertPreTokenizer splits such a text: every punctuation character is a word of its own.
WORD = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
MOST_WORDS = 32_768  # in each table: some 6 MB
LONGEST_PART = 40  # characters between two spaces; longer ones are rarely met again
LONGEST = 200  # letters of a word that is kept: a longer one is unknown to WordPiece, and would fill the memory
MOST_MARKS = 4


class NotPlain(Exception):
    """A part of a text that only the library knows."""


class Words:
    """Ids of plain texts. Safe from many threads: the tables only gain rows, or are emptied."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, before: list[int], after: list[int], marks: str) -> None:
        """`before` and `after`: the special ids around a text; `marks`: characters that an added token starts with."""
        self._before, self._after = before, after
        self._parts = _Parts(tokenizer, marks)

    def ids(self, text: str) -> list[int] | None:
        """The ids of the whole text with the special ones around it, not cut; None for a text that is not plain."""
        try:
            parts = chain.from_iterable(map(self._parts.__getitem__, text.split(" ")))
            return [*self._before, *parts, *self._after]
        except NotPlain:
            return None


class _Parts(dict[str, list[int]]):
    """The ids of what stands between two spaces: a word, and what punctuation is on it."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, marks: str) -> None:
        super().__init__()
        self._lower = bool(tokenizer.normalizer.lowercase)
        self._marks = marks
        self._words = _Table(tokenizer.model)

    def __missing__(self, part: str) -> list[int]:
        if PLAIN.fullmatch(part) is None or any(mark in part for mark in self._marks):
            raise NotPlain
        words = WORD.findall(part.lower() if self._lower else part)
        ids = [*chain.from_iterable(map(self._words.__getitem__, words))]
        if len(part) <= LONGEST_PART:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[part] = ids
        return ids


class _Table(dict[str, list[int]]):
    """The ids of each word that was met; of another one they come from the tokenizer's model."""

    def __init__(self, model: models.WordPiece) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, word: str) -> list[int]:
        ids = [token.id for token in self._model.tokenize(word)]
        if len(word) <= LONGEST:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids


def words_of(tokenizer: tokenizers.Tokenizer) -> Words | None:
    """The table for this tokenizer; None for one that is not BERT's in every part."""
    if (
        type(tokenizer.model) is not models.WordPiece
        or type(tokenizer.normalizer) is not normalizers.BertNormalizer
        or type(tokenizer.pre_tokenizer) is not pre_tokenizers.BertPreTokenizer
    ):
        return None
    marks = {added.content[:1] for added in tokenizer.get_added_tokens_decoder().values()}
    if len(marks) > MOST_MARKS or any(not mark.isascii() or mark.isalnum() or mark.isspace() for mark in marks):
        return None
    whole, bare = tokenizer.encode("a b"), tokenizer.encode("a b", add_special_tokens=False).ids
    start = next((i for i in range(len(whole.ids)) if whole.ids[i : i + len(bare)] == bare), None)
    if not bare or start is None or any(whole.type_ids) or whole.overflowing:
        return None
    return Words(tokenizer, whole.ids[:start], whole.ids[start + len(bare) :], "".join(sorted(marks)))
