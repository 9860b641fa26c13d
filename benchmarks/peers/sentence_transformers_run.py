"""CHECKPOINT TEXTS OUT THREADS: embed with sentence-transformers on torch; prints seconds and peak bytes."""

import json
import resource
import sys
import time

import numpy as np
import torch
from sentence_transformers import SentenceTransformer


checkpoint, texts_path, out, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
with open(texts_path, encoding="utf-8") as file:
    texts = json.load(file)
model = SentenceTransformer(checkpoint, device="cpu")
model.encode(texts[:8], show_progress_bar=False)
start = time.perf_counter()
vectors = model.encode(texts, batch_size=32, show_progress_bar=False)
seconds = time.perf_counter() - start
np.save(out, vectors)
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
