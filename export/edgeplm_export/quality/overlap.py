"""Calibration and evaluation data must not overlap: a variant that was tuned on its own exam proves nothing.

Texts count as the same when they differ only in the case of letters and in white space.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from edgeplm_export.quality.data import Data, Example, stream_examples
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadInput


NAMED = 5


def check(calibration: Path, evaluation: Data, manifest: Manifest, *, columns: Mapping[str, str] | None = None) -> None:
    """Raises BadInput, naming the first rows and the count, when a row of `calibration` is one of `evaluation`'s.

    The calibration file is streamed; of the evaluation data a hash of each row is kept.
    """
    pairs: dict[str, int] = {}
    texts: dict[str, int] = {}
    for example in evaluation.rows:
        if example.text_pair is not None:
            pairs.setdefault(_digest(example.text, example.text_pair), example.row)
        for text in _parts(example):
            texts.setdefault(_digest(text), example.row)
    count = 0
    named: list[str] = []
    for example in stream_examples(calibration, manifest, columns=columns):
        if example.text_pair is not None and pairs:
            # As a whole: the same context, or a common sentence, may stand in other pairs.
            hit = pairs.get(_digest(example.text, example.text_pair))
        else:
            hit = next((texts[key] for key in map(_digest, _parts(example)) if key in texts), None)
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


def _parts(example: Example) -> list[str]:
    return [text for text in (example.text, example.text_pair) if text is not None and text.strip()]


def _digest(*parts: str) -> str:
    plain = "\x1f".join(" ".join(part.casefold().split()) for part in parts)
    return hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()
