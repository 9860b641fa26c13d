"""EdgePLM as a candidate: a variant of a bundle, from token ids (Engine.forward) or from texts (the engine itself)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgeplm_runtime.benchmark.protocol import Absent, Arrays, Job, Opened, speak
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import EdgePLMError


TEXTS = "texts:"  # before the variant's name in the job's kind: read texts


def prepare(job: Job) -> None:
    """Nothing is written: the bundle is there."""


def opened(job: Job) -> Opened:
    """The variant named by the kind."""
    name = job.kind.removeprefix(TEXTS)
    try:
        engine = load(job.source, name, job.provider, threads=job.threads, profile="off")
    except EdgePLMError as error:
        raise Absent(str(error)) from error
    variant = engine.bundle.variant(engine.active.variant)

    def of_ids(feeds: Arrays) -> Any:
        return engine.forward(**feeds, outputs=[job.output])[job.output]

    return Opened(
        call=engine if job.kind.startswith(TEXTS) else of_ids,
        files=tuple(engine.bundle.path(name) for name in variant.files),
        reads="texts" if job.kind.startswith(TEXTS) else "ids",
        active=asdict(engine.active),
    )


if __name__ == "__main__":
    speak(prepare, opened)
