"""EdgePLM: a variant of a bundle, called through Engine.forward, checks included."""

from __future__ import annotations

from typing import Any

from benchmarks.peers._protocol import Arrays, Job, Opened, speak
from edgeplm_runtime.engine import load


def prepare(job: Job) -> None:
    """Nothing is written: the bundle is there."""


def opened(job: Job) -> Opened:
    """The variant named by the kind."""
    engine = load(job.source, job.kind, threads=job.threads, profile="off")
    variant = engine.bundle.variant(job.kind)

    def call(feeds: Arrays) -> Any:
        return engine.forward(**feeds, outputs=[job.output])[job.output]

    return Opened(call=call, files=tuple(engine.bundle.path(name) for name in variant.files))


if __name__ == "__main__":
    speak(prepare, opened)
