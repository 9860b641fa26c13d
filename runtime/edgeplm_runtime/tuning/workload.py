"""What is timed: calls of an engine with texts, raw text to answer, as a program would make them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeplm_runtime.engine import Engine, load
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.profile import OFF, Choice


WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
MAX_BATCH = 10_000
WARM_UP = 2
LONG_MS = 100.0  # one such call has woken every thread


@dataclass(frozen=True, kw_only=True)
class Workload:
    """`calls` are made one after the other, each with its texts; one sample is their mean time."""

    calls: tuple[tuple[str, ...], ...]
    words: str

    def tokens(self, engine: Engine) -> list[list[int]]:
        """The tokens of each text of each call."""
        return [[len(encoded.ids) for encoded in engine.tokenize(list(call))] for call in self.calls]

    @property
    def batch(self) -> int:
        """Texts of the largest call."""
        return max(len(call) for call in self.calls)

    def milliseconds(self, engine: Engine) -> float:
        """The mean time of a call, now."""
        start = time.perf_counter()
        for call in self.calls:
            engine(list(call))
        return (time.perf_counter() - start) * 1e3 / len(self.calls)


def of_lengths(engine: Engine, lengths: Sequence[int], batch: int) -> Workload:
    """Texts of about these numbers of tokens: `batch` to a call, the lengths mixed; a call of its own for each if 1.

    Raises BadInput for a batch or a length that cannot be.
    """
    limit = engine.manifest.text.max_length
    if not 1 <= batch <= MAX_BATCH:
        raise BadInput(f"batch is {batch}; give a number from 1 to {MAX_BATCH}.")
    for length in lengths:
        if not 1 <= length <= limit:
            raise BadInput(f"length is {length}; this model takes 1 to {limit} tokens.")
    if not lengths:
        raise BadInput("no length is given; give tokens like 16,128.")
    texts = [_text(engine, length) for length in lengths]
    shown = ", ".join(map(str, lengths))
    return _workload(texts, batch, f"{shown} tokens")


def of_texts(texts: Sequence[str], batch: int, source: str) -> Workload:
    """The given texts, `batch` to a call, in order; fewer than `batch` are repeated. Raises BadInput for none."""
    if not texts:
        raise BadInput(f"{source} holds no text to measure with.")
    return _workload(list(texts), batch, f"{len(texts)} texts of {source}")


def with_batch(workload: Workload, batch: int) -> Workload:
    """The same texts in calls of another size."""
    texts = [text for call in workload.calls for text in call]
    return _workload(texts, batch, workload.words)


@contextmanager
def ready(bundle: Path, work: Workload, choice: Choice) -> Iterator[Callable[[], float]]:
    """The choice's engine, opened and warm: what is yielded makes all calls once and gives the mean milliseconds.

    Hashes are not checked again, and no profile decides. Raises what load() raises.
    """
    with load(
        bundle,
        choice.variant,
        choice.provider,
        choice.threads,
        lanes=choice.lanes,
        token_budget=choice.token_budget,
        spinning=choice.spinning,
        arena=choice.arena,
        check_hashes=False,
        profile=OFF,
    ) as engine:
        for _ in range(WARM_UP):
            if work.milliseconds(engine) * len(work.calls) > LONG_MS:
                break
        yield partial(work.milliseconds, engine)


def _workload(texts: list[str], batch: int, words: str) -> Workload:
    count = max(batch, len(texts)) // batch * batch
    filled = [texts[i % len(texts)] for i in range(count)]
    calls = tuple(tuple(filled[i : i + batch]) for i in range(0, count, batch))
    return Workload(calls=calls, words=words)


def _text(engine: Engine, tokens: int) -> str:
    """Common words, as many as fit into that number of tokens; one word at least."""
    texts = [" ".join(WORDS[i % len(WORDS)] for i in range(count)) for count in range(1, tokens + 1)]
    lengths = [len(encoded.ids) for encoded in engine.tokenize(texts)]
    # A text that was cut has the model's maximum too: the first of that length is the whole one.
    longest = max((length for length in lengths if length <= tokens), default=0)
    return next((text for text, length in zip(texts, lengths, strict=True) if length == longest), texts[0])
