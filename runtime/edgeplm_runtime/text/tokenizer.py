"""Text to token ids with the checkpoint's own tokenizer.json, exactly as the Hugging Face tokenizer does.

Knows nothing of graphs or tasks. Safe from many threads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import tokenizers

from edgeplm_runtime.bundle.manifest import ADVICE, TextInput
from edgeplm_runtime.errors import BadBundle, BadInput, OutOfMemory
from edgeplm_runtime.text.items import Item
from edgeplm_runtime.text.words import Words, words_of


# A longer text is first cut to this many characters; the rest is read only if they give too few tokens.
PREFIX_CHARACTERS = 100_000
# Past this no more is read: 10 MB of "!" would take 5 GB and 20 s. It takes a text with a million blanks, or a
# word of a million letters, to come here.
MOST_CHARACTERS = 1_000_000
# A cut changes the tokens beside it only: those of their word, and where words are not split, a few more.
MARGIN_TOKENS = 16
# "Regex" as a key, also with its letters written as JSON escapes. To search for both in one expression takes 5 ms for
# half a megabyte; few files hold the beginning of an escape.
REGEX_KEY, ESCAPE = b'"Regex"', b"\\u00"
ESCAPED_LETTER = re.compile(rb"\\u00(?:52|65|67|78)")


# gc=False: a list of texts makes one for each; to look for cycles among them took a sixth of a small student's time.
class Encoded(msgspec.Struct, frozen=True, gc=False):
    """One input as the graph reads it: ids (tokens,), not padded. `source()`: the library's own.

    `types`: the type ids, None where it is known that all are 0.
    """

    ids: list[int]
    types: list[int] | None
    truncated: bool
    source: Callable[[], tokenizers.Encoding]
    skipped: tuple[int, int] = (0, 0)

    @property
    def type_ids(self) -> list[int]:
        """The type ids (tokens,)."""
        return [0] * len(self.ids) if self.types is None else self.types

    @property
    def mask(self) -> list[int]:
        """1 for each token, as none is padding: (tokens,)."""
        return [1] * len(self.ids)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Where each token stands in its text, in characters: (tokens, 2), end exclusive."""
        source = self.source()
        found: list[tuple[int, int]] = list(source.offsets)
        if not any(self.skipped):
            return found
        # Characters that were left out at the start of the text, or of the pair's second text.
        return [
            (a, b) if text is None else (a + self.skipped[text], b + self.skipped[text])
            for (a, b), text in zip(found, source.sequence_ids, strict=True)
        ]


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokenizer is given of one input: one text or two, and the characters left out before each.

    `cut`: something that might have given tokens was left out.
    """

    texts: tuple[str, ...]
    cut: bool = False
    skipped: tuple[int, int] = (0, 0)


class Tokenizer:
    """The device's tokenizer."""

    def __init__(self, path: Path, spec: TextInput) -> None:
        """Read tokenizer.json. Raises BadBundle when it is damaged or hostile."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadBundle(f"{path} cannot be read: {error.strerror}. {ADVICE}") from None
        self.spec = spec
        self._path = path
        _check_patterns(data, path)
        self._tokenizer = self._guarded(tokenizers.Tokenizer.from_buffer, data)
        # The file may pad and cut every text on its own (sentence-transformers saves it so): the spec decides.
        self._tokenizer.no_padding()
        self._guarded(
            self._tokenizer.enable_truncation,
            max_length=spec.max_length,
            strategy="longest_first",
            direction=spec.truncation_side,
        )
        # What fails on any text fails here, before a graph is opened.
        self._guarded(self._tokenizer.encode, "a b")
        self._words: Words | None = self._guarded(words_of, self._tokenizer)

    def encode(self, items: Sequence[Item], *, truncation: bool = True) -> list[Encoded]:
        """Each item's ids, in order. Texts past the model's maximum are cut as the checkpoint's tokenizer cuts.

        Raises BadInput with `truncation=False` when a text is too long, and for lone surrogates.
        """
        plain = [None] * len(items) if self._words is None else self._guarded(self._plain, self._words, items)
        rest = [item for item, encoded in zip(items, plain, strict=True) if encoded is None]
        others = iter(self._by_library(rest, truncation) if rest else ())
        return [next(others) if encoded is None else encoded for encoded in plain]

    def _plain(self, words: Words, items: Sequence[Item]) -> list[Encoded | None]:
        """What the table of words gives; None where the library has to look at the text, or to cut it."""
        found: list[Encoded | None] = []
        for item in items:
            text = item.text
            ids = None if item.text_pair is not None or len(text) > PREFIX_CHARACTERS else words.ids(text)
            if ids is None or len(ids) > self.spec.max_length:
                found.append(None)
            else:
                found.append(Encoded(ids, None, False, partial(self._again, text)))
        return found

    def _again(self, text: str) -> tokenizers.Encoding:
        found: tokenizers.Encoding = self._guarded(self._tokenizer.encode, text)
        return found

    def _by_library(self, items: Sequence[Item], truncation: bool) -> list[Encoded]:
        read = [self._read(item) for item in items]
        encodings = self._guarded(self._tokenizer.encode_batch, [r.texts if r.texts[1:] else r.texts[0] for r in read])
        found = []
        for item, part, encoding in zip(items, read, encodings, strict=True):
            truncated = part.cut or bool(encoding.overflowing)
            if truncated and not truncation:
                raise BadInput(
                    f"input {item.position} is longer than the model's {self.spec.max_length} tokens, "
                    "and truncation=False refuses to cut it. Shorten or split the text."
                )
            found.append(
                Encoded(
                    ids=encoding.ids,
                    types=encoding.type_ids,
                    truncated=truncated,
                    source=partial(_same, encoding),
                    skipped=part.skipped,
                )
            )
        return found

    def _read(self, item: Item) -> _Read:
        """The item's texts, valid Unicode, each without a part that no token of the answer can come from."""
        texts = (item.text,) if item.text_pair is None else (item.text, item.text_pair)
        for text in texts:
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise BadInput(
                    f"input {item.position} holds a lone surrogate (U+{ord(text[error.start]):04X}) at character "
                    f"{error.start}: it is not valid Unicode text. Decode its source with the right encoding."
                ) from None
        if max(map(len, texts)) <= PREFIX_CHARACTERS:
            return _Read(texts=texts)
        enough = 2 * self.spec.max_length + MARGIN_TOKENS
        short = min(texts, key=len) if texts[1:] else ""
        # Of a pair the tokenizer cuts more from the longer text, so the longer one has to stay the longer one:
        # it keeps more tokens than the other has, and where both are very long neither is cut early.
        both = len(short) > PREFIX_CHARACTERS
        enough += 0 if both or not short else len(self._word_numbers(short))
        kept = [self._most(text) if both or text is short else self._part(text, enough) for text in texts]
        left = self.spec.truncation_side == "left"
        skipped = [len(text) - len(part) if left else 0 for text, part in zip(texts, kept, strict=True)]
        cut = any(len(part) == MOST_CHARACTERS < len(text) for text, part in zip(texts, kept, strict=True))
        return _Read(texts=tuple(kept), cut=cut, skipped=(skipped[0], skipped[-1]))

    def _part(self, text: str, enough: int) -> str:
        """The part of a very long text that surely holds `enough` tokens which the cut does not change.

        A token depends on its own word, so the tokens of the word at the cut do not count. A tokenizer that
        splits no words has one word for all; its tokens depend on their neighbours, which the margin in
        `enough` allows for.
        """
        size = PREFIX_CHARACTERS
        left = self.spec.truncation_side == "left"
        while size < min(len(text), MOST_CHARACTERS):
            part = text[-size:] if left else text[:size]
            words = self._word_numbers(part)
            beside = (min(words) if left else max(words)) if words else 0
            if (sum(word != beside for word in words) or len(words)) > enough:
                return part
            size *= 4
        return self._most(text)

    def _most(self, text: str) -> str:
        return text[-MOST_CHARACTERS:] if self.spec.truncation_side == "left" else text[:MOST_CHARACTERS]

    def _word_numbers(self, text: str) -> list[int]:
        """For each token of a whole text the number of its word, special tokens left out; in no order."""
        encoding = self._guarded(self._tokenizer.encode, text)
        return [word for part in (encoding, *encoding.overflowing) for word in part.word_ids if word is not None]

    def _guarded(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call into the Rust library; its panics, which are not Exceptions, become BadBundle."""
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise OutOfMemory(f"this machine has too little memory to tokenize these texts: {error}.") from None
        except BaseException as error:
            # pyo3's PanicException derives from BaseException alone, so that `except Exception` misses it.
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                raise BadBundle(
                    f"{self._path} fails in the tokenizer library (tokenizers {tokenizers.__version__}): "
                    f"{str(error)[:300]}. Save the tokenizer again with this version of the library, and export again."
                ) from None
            raise


def _same(encoding: tokenizers.Encoding) -> tokenizers.Encoding:
    return encoding


def _check_patterns(data: bytes, path: Path) -> None:
    """Refuse regular expressions that can take exponential time; a file without any is not parsed for it."""
    if REGEX_KEY not in data and not (ESCAPE in data and ESCAPED_LETTER.search(data)):
        return
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{path} is not a readable tokenizer: {error}. {ADVICE}") from None
    from edgeplm_runtime.text.patterns import refuse_exponential_patterns  # here: most files have no patterns

    if isinstance(document, dict):  # the library says what is wrong with anything else
        refuse_exponential_patterns(document, name=path.name)
