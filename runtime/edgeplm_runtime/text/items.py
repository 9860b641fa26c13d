"""What a caller may give as input, and what each input is.

Knows nothing of tokens or tasks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from edgeplm_runtime.errors import BadInput, BadInputType


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One input: a text, or a pair of texts. `position` counts from 0 in what the caller gave."""

    text: str
    text_pair: str | None
    position: int


def listed(inputs: Any) -> list[Any]:
    """The inputs as a list; BadInputType for what cannot be a list of inputs."""
    if isinstance(inputs, (set, frozenset)):
        raise BadInputType("expected a list of inputs; found a set, which has no order. Sort it into a list.")
    return list(iterated(inputs))


def iterated(inputs: Any) -> Iterator[Any]:
    """The inputs one by one; BadInputType for what holds no inputs."""
    if not isinstance(inputs, (bytes, bytearray, memoryview)):
        # A numpy array without axes has __iter__ and still cannot be iterated.
        with contextlib.suppress(TypeError):
            return iter(inputs)
    raise BadInputType(f"expected a text, a pair, or a list of them; found {type(inputs).__name__}.")


def text_and_pair(row: Any, position: int, *, pairs: str) -> tuple[str, str | None]:
    """The text and, for a pair, the second text of one input. `pairs` is "optional", "required" or "refused"."""
    text, pair = _parts(row, position)
    if pairs == "required" and pair is None:
        raise BadInput(f"input {position} is a single text; this model reads pairs: {{'text': …, 'text_pair': …}}.")
    if pairs == "refused" and pair is not None:
        raise BadInput(f"input {position} is a pair of texts; this model reads one text at a time.")
    return text, pair


def _parts(row: Any, position: int) -> tuple[str, str | None]:
    if isinstance(row, str):
        return row, None
    if isinstance(row, Mapping):
        if extra := set(row) - {"text", "text_pair"}:
            raise BadInput(
                f"input {position} has the unknown key(s) {str(sorted(map(str, extra)))[:80]}; expected text and "
                "text_pair."
            )
        text, pair = row.get("text"), row.get("text_pair")
        if not isinstance(text, str):
            raise BadInputType(f"input {position}: text is {type(text).__name__}; expected a string.")
        if pair is not None and not isinstance(pair, str):
            raise BadInputType(f"input {position}: text_pair is {type(pair).__name__}; expected a string.")
        if "text_pair" in row and pair is None:
            raise BadInputType(f"input {position}: text_pair is None; leave the key out for a single text.")
        return text, pair
    raise BadInputType(f"input {position} is {type(row).__name__}; expected a string or {{'text': …, 'text_pair': …}}.")
