"""What a candidate's process says and hears: lines on stdin, JSON lines on stdout.

A candidate is a module with `prepare(job)`, which writes its files into `job.folder` once, and `opened(job)`, which
gives what is called. candidates.py starts it with the Python of its own environment; it finds there numpy, this file
and what it measures, and nothing else of EdgePLM is imported. In `serve` it first says what it is (Opened), then the
parent sends

    feed NAME PATH     an .npz of input_ids, attention_mask, token_type_ids, (rows, tokens) int64, and, for candidates
                       that read texts, of texts (rows,)                                      → "ok"
    run NAME COUNT     call with it so often, one right after the other                        → milliseconds of each
    answer NAME PATH   call once, store the output as .npy                                     → "ok"
    peak               the most resident memory so far                                         → bytes

and closes stdin at the end. What cannot run here answers {"absent": reason} and ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


NAMES = ("input_ids", "attention_mask", "token_type_ids")
HIDDEN = "token_embeddings"  # what an embedding bundle calls its last hidden state
Arrays = dict[str, NDArray[np.int64]]
Call = Callable[[Arrays], NDArray[Any]]


class Absent(Exception):
    """This candidate cannot be had here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a candidate is asked to be. `kind` is its module's own word, `output` the name of what is compared.

    `calibration`: .npz of input_ids and attention_mask of passages that static schemes may look at, "" for none.
    """

    kind: str
    source: str  # the checkpoint's folder; a bundle's for our own
    folder: str  # the candidate's own, kept between runs
    exports: str  # plain ONNX exports, shared by those that start from one
    calibration: str
    output: str
    threads: int
    provider: str = "auto"  # our own's only

    def path(self, name: str) -> Path:
        """A file of the candidate's own folder."""
        return Path(self.folder) / name

    def passages(self) -> list[Arrays]:
        """The calibration passages one by one, without padding."""
        with np.load(self.calibration) as stored:
            rows = list(zip(stored["input_ids"], stored["attention_mask"].sum(axis=1), strict=True))
        return [feeds_of(ids[None, :length]) for ids, length in rows]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A candidate that is ready: what to call, and the files that a user would have to carry.

    With `reads` "texts" it is called with a list of texts in place of the arrays.
    """

    call: Callable[[Any], NDArray[Any]]
    files: tuple[Path, ...]
    reads: Literal["ids", "texts"] = "ids"
    active: dict[str, Any] = field(default_factory=dict)


def feeds_of(ids: NDArray[np.int64]) -> Arrays:
    """Inputs for ids (rows, tokens) that are all real."""
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def files_of(job: Job, variant: str) -> tuple[Path, ...]:
    """The graph of a variant and its weights; the manifest read without our own code, which is not installed here."""
    bundle = Path(job.source)
    manifest = json.loads((bundle / "edgeplm.json").read_text(encoding="utf-8"))
    found = next(row for row in manifest["variants"] if row["name"] == variant)
    return tuple(bundle / name for name in found["files"])


def speak(prepare: Callable[[Job], None], opened: Callable[[Job], Opened]) -> None:
    """The main function of a candidate's module."""
    warnings.simplefilter("ignore")
    # Libraries print to stdout: what they print goes to stderr, the answers to what stdout was.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")

    job = Job(**json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    try:
        if sys.argv[1] == "prepare":
            Path(job.folder).mkdir(parents=True, exist_ok=True)
            prepare(job)
            say("ok")
        else:
            ready = opened(job)
            size = sum(path.stat().st_size for path in ready.files)
            say({"size_bytes": size, "reads": ready.reads, "active": ready.active})
            _serve(ready, say)
    except Exception as error:
        words = str(error) if isinstance(error, Absent) else f"{type(error).__name__}: {error}"
        say({"absent": " ".join(words.split())[:300]})
        raise SystemExit(f"{words}") from error


def _serve(ready: Opened, say: Callable[[Any], None]) -> None:
    feeds: dict[str, Any] = {}
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        name, _, rest = rest.partition(" ")
        if word == "feed":
            with np.load(rest) as stored:
                given = stored["texts"].tolist() if ready.reads == "texts" else {key: stored[key] for key in NAMES}
            feeds[name] = given
            say("ok")
        elif word == "run":
            samples = []
            for _ in range(int(rest)):
                start = time.perf_counter()
                ready.call(feeds[name])
                samples.append((time.perf_counter() - start) * 1e3)
            say(samples)
        elif word == "answer":
            np.save(rest, np.asarray(ready.call(feeds[name]), dtype=np.float32))
            say("ok")
        else:
            say(_peak_bytes())


def _peak_bytes() -> int:
    """As machine.peak_rss_bytes() has it, of which a peer's environment has no copy; 0 where /proc is not there."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
