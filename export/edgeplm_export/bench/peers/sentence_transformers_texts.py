"""sentence-transformers on torch, from texts to vectors, as its documentation has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeplm_runtime.benchmark.protocol import Absent, Job, Opened, speak


def prepare(job: Job) -> None:
    """Nothing is written: it reads the checkpoint."""
    if job.output == "logits":
        raise Absent("sentence-transformers gives embeddings, and this bundle classifies")


def opened(job: Job) -> Opened:
    """SentenceTransformer.encode, its default batches."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(job.threads)
    model = SentenceTransformer(job.source, device="cpu")

    def call(texts: list[str]) -> Any:
        return model.encode(texts, show_progress_bar=False)

    return Opened(call=call, files=tuple(Path(job.source).glob("*.safetensors")), reads="texts")


if __name__ == "__main__":
    speak(prepare, opened)
