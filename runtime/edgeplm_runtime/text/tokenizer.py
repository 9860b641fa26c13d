"""Text to token ids with the checkpoint's own tokenizer.json, exactly as the Hugging Face tokenizer does.

Knows nothing of graphs or tasks. Safe from many threads: nothing is changed after construction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from edgeplm_runtime.bundle.manifest import TextInput
from edgeplm_runtime.errors import BadBundle, BadInput, BadInputType
from edgeplm_runtime.text.items import Item
from edgeplm_runtime.text.patterns import refuse_exponential_patterns


# A longer text is first cut to this many characters; the rest is read only if they give too few tokens.
PREFIX_CHARACTERS = 100_000


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One input as the graph reads it: ids and type ids (tokens,), not padded."""

    ids: list[int]
    type_ids: list[int]
    truncated: bool
    source: tokenizers.Encoding

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Where each token stands in its text, in characters: (tokens, 2), end exclusive."""
        return list(self.source.offsets)


class Tokenizer:
    """The device's tokenizer."""

    def __init__(self, path: Path, spec: TextInput) -> None:
        """Read tokenizer.json. Raises BadBundle when it is damaged or hostile."""
        data = path.read_bytes()
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

    def encode(self, items: Sequence[Item], *, truncation: bool = True) -> list[Encoded]:
        """Each item's ids, in order. Texts past the model's maximum are cut as the checkpoint's tokenizer cuts.

        Raises BadInput with `truncation=False` when a text is too long, and for lone surrogates.
        """
        pairs = [self._sequence(item) for item in items]
        encodings = self._guarded(self._tokenizer.encode_batch, pairs)
        found = []
        for item, encoding in zip(items, encodings, strict=True):
            truncated = bool(encoding.overflowing)
            if truncated and not truncation:
                raise BadInput(
                    f"input {item.position} is longer than the model's {self.spec.max_length} tokens, "
                    "and truncation=False refuses to cut it. Shorten or split the text."
                )
            found.append(Encoded(ids=encoding.ids, type_ids=encoding.type_ids, truncated=truncated, source=encoding))
        return found

    def _sequence(self, item: Item) -> str | tuple[str, str]:
        for text in (item.text, item.text_pair or ""):
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise BadInput(
                    f"input {item.position} holds a lone surrogate (U+{ord(text[error.start]):04X}) at character "
                    f"{error.start}: it is not valid Unicode text. Decode its source with the right encoding."
                ) from None
        if item.text_pair is not None:
            return self._prefix(item.text), self._prefix(item.text_pair)
        return self._prefix(item.text)

    def _prefix(self, text: str) -> str:
        """A start of a very long text that is certain to hold more tokens than the model reads, or all of it.

        Tokens depend on their own word only, so a cut at white space keeps every token before it. A text
        without white space, or one that is cut on the left, is left whole.
        """
        size = PREFIX_CHARACTERS
        while len(text) > size and self.spec.truncation_side == "right":
            cut = max(text.rfind(" ", 0, size), text.rfind("\n", 0, size))
            if cut <= 0:
                break
            start = text[:cut]
            encoding = self._guarded(self._tokenizer.encode, start)
            if sum(len(part.ids) for part in (encoding, *encoding.overflowing)) > 2 * self.spec.max_length + 16:
                return start
            size *= 4
        return text

    def _guarded(self, function, *args, **kwargs):  # type: ignore[no-untyped-def]
        """Call into the Rust library; its panics, which are not Exceptions, become BadBundle."""
        try:
            return function(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit, BadInputType):
            raise
        except BaseException as error:
            # pyo3's PanicException derives from BaseException alone, so that `except Exception` misses it.
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                raise BadBundle(f"{self._path} fails in the tokenizer library: {str(error)[:300]}") from None
            raise


def _check_patterns(data: bytes, path: Path) -> None:
    """Refuse regular expressions that can take exponential time; a file without any is not parsed for it."""
    if b'"Regex"' not in data:
        return
    try:
        refuse_exponential_patterns(json.loads(data), name=path.name)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{path} is not a readable tokenizer: {error}.") from None
