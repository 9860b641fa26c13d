"""BUNDLE VARIANT TEXTS OUT THREADS: embed with EdgePLM; prints seconds, twice, and peak bytes."""

import json
import sys
import time
import warnings

import numpy as np

from edgeplm_runtime.engine import load
from edgeplm_runtime.machine import peak_rss_bytes


warnings.simplefilter("ignore")
bundle, variant, texts_path, out, threads = sys.argv[1:]
with open(texts_path, encoding="utf-8") as file:
    texts = json.load(file)
engine = load(bundle, variant, threads=int(threads), profile="off")
engine(texts[:8])
seconds = []
for _ in range(2):
    start = time.perf_counter()
    vectors = engine(texts)
    seconds.append(time.perf_counter() - start)
np.save(out, vectors)
print(*seconds, peak_rss_bytes())
