"""fastembed, from texts to unit vectors: its own loop on a plain export of the checkpoint, mean-pooled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgeplm_runtime.benchmark.protocol import Absent, Job, Opened, speak


NAME = "local/checkpoint"


def prepare(job: Job) -> None:
    """Export the checkpoint, and put its tokenizer beside it."""
    if job.output == "logits":
        raise Absent("fastembed gives embeddings, and this bundle classifies")
    modules = Path(job.source) / "modules.json"
    pooling = Path(job.source) / "1_Pooling" / "config.json"
    if not modules.is_file() or not pooling.is_file():
        raise Absent("fastembed is told to pool by the mean, and this checkpoint does not say how it pools")
    if not _pools_by_the_mean(json.loads(pooling.read_text(encoding="utf-8"))):
        raise Absent("fastembed is told to pool by the mean, and this checkpoint pools otherwise")
    if job.path("model.onnx").is_file():
        return
    from edgeplm_export.bench.peers._checkpoint import export

    for path in Path(job.source).glob("*.json"):
        shutil.copyfile(path, job.path(path.name))
    # fastembed cuts texts at model_max_length, sentence-transformers at max_seq_length: both at the smaller one.
    settings_path = job.path("tokenizer_config.json")
    settings = json.loads(settings_path.read_text(encoding="utf-8"))
    limit_path = Path(job.source) / "sentence_bert_config.json"
    if limit_path.is_file():
        settings["model_max_length"] = json.loads(limit_path.read_text(encoding="utf-8"))["max_seq_length"]
    settings_path.write_text(json.dumps(settings), encoding="utf-8")
    shutil.copyfile(export(job, job.kind), job.path("part.onnx"))
    job.path("part.onnx").rename(job.path("model.onnx"))


def opened(job: Job) -> Opened:
    """TextEmbedding on the local folder, its default batches."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    config = json.loads(job.path("config.json").read_text(encoding="utf-8"))
    TextEmbedding.add_custom_model(
        model=NAME,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=NAME),
        dim=config["hidden_size"],
        model_file="model.onnx",
    )
    model = TextEmbedding(NAME, specific_model_path=job.folder, threads=job.threads)

    def call(texts: list[str]) -> Any:
        return np.stack(list(model.embed(texts)))

    return Opened(call=call, files=(job.path("model.onnx"),), reads="texts")


def _pools_by_the_mean(config: dict[str, Any]) -> bool:
    """sentence-transformers 6 writes pooling_mode, older ones a switch for each mode."""
    if "pooling_mode" in config:
        return config["pooling_mode"] in ("mean", ["mean"])
    on = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    return on == ["pooling_mode_mean_tokens"]


if __name__ == "__main__":
    speak(prepare, opened)
