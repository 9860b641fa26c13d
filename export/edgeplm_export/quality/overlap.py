"""Calibration and evaluation data must not overlap: a variant that was tuned on its own exam proves nothing.

Texts count as the same when they differ only in the case of letters and in white space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeplm_export.quality.data import Data, Example, stream_examples
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadInput


NAMED = 5


def check(calibration: Path, evaluation: Data, manifest: Manifest, *, columns: Mapping[str, str] | None = None) -> None:
    """Raises BadInput, naming the first rows and the count, when a row of `calibration` is one of `evaluation`'s.

    The calibration file is streamed; of the evaluation data a hash of each row is kept.
    """
    pairs, texts = _asked(evaluation)
    count = 0
    named: list[str] = []
    for example in stream_examples(calibration, manifest, columns=columns):
        hit = _hit(example, pairs, texts)
        if hit is not None:
            count += 1
            if len(named) < NAMED:
                named.append(f"row {example.row} is row {hit} there")
    if count:
        raise BadInput(
            f"{calibration} and {evaluation.path} overlap in {count} row{'s' if count > 1 else ''}: {'; '.join(named)}"
            f"{' …' if count > NAMED else ''}. The evaluation would judge on texts that the calibration has seen; "
            "remove them from one of the files."
        )


def rows_seen(examples: Sequence[Example], evaluation: Data) -> frozenset[int]:
    """The positions of the examples that the evaluation asks too."""
    pairs, texts = _asked(evaluation)
    return frozenset(i for i, example in enumerate(examples) if _hit(example, pairs, texts) is not None)


def _asked(evaluation: Data) -> tuple[dict[str, int], dict[str, int]]:
    """The rows of the evaluation by the hash of the pair, and by that of each text."""
    pairs: dict[str, int] = {}
    texts: dict[str, int] = {}
    for example in evaluation.rows:
        if example.text_pair is not None:
            pairs.setdefault(_digest(example.text, example.text_pair), example.row)
        for text in _parts(example):
            texts.setdefault(_digest(text), example.row)
    return pairs, texts


def _hit(example: Example, pairs: Mapping[str, int], texts: Mapping[str, int]) -> int | None:
    """The row of the evaluation that this example is, if any."""
    if example.text_pair is not None and pairs:
        # As a whole: the same context, or a common sentence, may stand in other pairs.
        return pairs.get(_digest(example.text, example.text_pair))
    return next((texts[key] for key in map(_digest, _parts(example)) if key in texts), None)


def _parts(example: Example) -> list[str]:
    return [text for text in (example.text, example.text_pair) if text is not None and text.strip()]


def _digest(*parts: str) -> str:
    plain = "\x1f".join(" ".join(part.casefold().split()) for part in parts)
    return hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()
