"""FOLDER: the first embedding with fastembed from a local folder.

FOLDER BATCH TEXTS OUT THREADS: embed those texts; prints seconds and peak bytes.
"""

import json
import resource
import sys
import time

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType


folder, *job = sys.argv[1:]
TextEmbedding.add_custom_model(
    model="local/minilm",
    pooling=PoolingType.MEAN,
    normalization=True,
    sources=ModelSource(hf="local/minilm"),
    dim=384,
    model_file="model.onnx",
)
model = TextEmbedding("local/minilm", specific_model_path=folder, threads=int(job[3]) if job else None)
if job:
    batch, texts_path, out, _ = job
    with open(texts_path, encoding="utf-8") as file:
        texts = json.load(file)
    list(model.embed(texts[:8]))
    start = time.perf_counter()
    vectors = np.stack(list(model.embed(texts, batch_size=int(batch))))
    seconds = time.perf_counter() - start
    np.save(out, vectors)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
else:
    print(next(iter(model.embed(["The quick brown fox jumps over the lazy dog."])))[:4])
