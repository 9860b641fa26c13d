"""MODEL TOKENIZER PRECISION HINT BUDGET TEXTS OUT THREADS: embed with OpenVINO; prints seconds, twice, and peak bytes.

The loop that a person who knows OpenVINO writes: all texts tokenized at once, sorted by length, batched under a budget
of tokens, and handed to as many requests as OpenVINO finds best, whose callbacks pool and normalise.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import openvino as ov  # type: ignore[import-not-found]
from tokenizers import Tokenizer


MAX_TOKENS = 256  # what sentence-transformers and EdgePLM cut this model's texts at
model, tokenizer_path, precision, hint, budget, texts_path, out, threads = sys.argv[1:]
with open(texts_path, encoding="utf-8") as file:
    texts = json.load(file)
tokenizer = Tokenizer.from_file(tokenizer_path)
tokenizer.enable_truncation(MAX_TOKENS)
tokenizer.no_padding()
compiled = ov.Core().compile_model(
    model,
    "CPU",
    {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": int(threads)},
)
names = [port.get_any_name() for port in compiled.inputs]
queue = ov.AsyncInferQueue(compiled, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions of the texts by length, longest first, as many as the budget holds."""
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    while order:
        rows = max(1, int(budget) // lengths[order[0]])
        yield order[:rows]
        order = order[rows:]


def embed(given: Sequence[str]) -> Any:
    """Unit vectors (texts, dimension) float32."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch(given)]
    found: list[Any] = [None] * len(given)

    def pooled(request: Any, batch: Sequence[int]) -> None:
        hidden, mask = request.get_output_tensor(0).data, request.get_tensor("attention_mask").data
        vectors = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32)) / mask.sum(axis=1, keepdims=True)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for position, vector in zip(batch, vectors, strict=True):
            found[position] = vector

    queue.set_callback(pooled)
    for batch in batches([len(row) for row in ids]):
        feeds = {name: np.zeros((len(batch), len(ids[batch[0]])), dtype=np.int64) for name in names}
        for row, position in enumerate(batch):
            feeds["input_ids"][row, : len(ids[position])] = ids[position]
            feeds["attention_mask"][row, : len(ids[position])] = 1
        queue.start_async(feeds, batch)
    queue.wait_all()
    return np.stack(found)


embed(texts[:8])
seconds = []
for _ in range(2):
    start = time.perf_counter()
    vectors = embed(texts)
    seconds.append(time.perf_counter() - start)
np.save(out, vectors)
print(*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
