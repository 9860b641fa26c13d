"""CTranslate2: its BERT encoder, float32 and int8."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeplm_runtime.benchmark.protocol import Absent, Arrays, Job, Opened, speak


def prepare(job: Job) -> None:
    """Convert the checkpoint, stored in the kind's own type, once."""
    if job.path("model/model.bin").is_file():
        return
    if job.output == "logits":
        raise Absent("CTranslate2 converts BertModel, and no classification head")
    from ctranslate2.converters import TransformersConverter  # type: ignore[import-not-found]

    TransformersConverter(job.source).convert(str(job.path("model")), quantization=job.kind, force=True)


def opened(job: Job) -> Opened:
    """The encoder; rows are given with their lengths, as it wants them. Its type ids are 0 when left out."""
    import ctranslate2  # type: ignore[import-not-found]

    folder = job.path("model")
    encoder = ctranslate2.Encoder(
        str(folder), device="cpu", compute_type=job.kind, inter_threads=1, intra_threads=job.threads
    )

    def call(feeds: Arrays) -> Any:
        ids = ctranslate2.StorageView.from_array(feeds["input_ids"].astype(np.int32))
        lengths = ctranslate2.StorageView.from_array(feeds["attention_mask"].sum(axis=1).astype(np.int32))
        return np.asarray(encoder.forward_batch(ids, lengths).last_hidden_state)

    return Opened(call=call, files=(folder / "model.bin",))


if __name__ == "__main__":
    speak(prepare, opened)
