"""BUNDLE VARIANT TEXTS OUT THREADS: embed with EdgePLM; prints seconds, twice, and peak bytes.

On stderr: the share of the last time in which the tokenizer was at work, and in which at least one graph call was.
"""

import json
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeplm_runtime.engine import load
from edgeplm_runtime.machine import peak_rss_bytes


class Busy:
    """Seconds in which at least one of the watched calls runs."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock, self._running, self._since = threading.Lock(), 0, 0.0

    def watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, counted."""

        def counted(*given: Any, **named: Any) -> Any:
            with self._lock:
                self._since = time.perf_counter() if not self._running else self._since
                self._running += 1
            try:
                return call(*given, **named)
            finally:
                with self._lock:
                    self._running -= 1
                    self.seconds += time.perf_counter() - self._since if not self._running else 0.0

        return counted


warnings.simplefilter("ignore")
bundle, variant, texts_path, out, threads = sys.argv[1:]
with open(texts_path, encoding="utf-8") as file:
    texts = json.load(file)
engine = load(bundle, variant, threads=int(threads), profile="off")
graph, tokenizer = Busy(), Busy()
for busy, owner, name in ((graph, engine._graph, "run"), (tokenizer, engine.tokenizer, "encode")):
    setattr(owner, name, busy.watched(getattr(owner, name)))
engine(texts[:8])
seconds = []
for _ in range(2):
    graph.seconds = tokenizer.seconds = 0.0
    start = time.perf_counter()
    vectors = engine(texts)
    seconds.append(time.perf_counter() - start)
np.save(out, vectors)
print(*seconds, peak_rss_bytes())
print(json.dumps({"tokenizer": tokenizer.seconds / seconds[-1], "graph": graph.seconds / seconds[-1]}), file=sys.stderr)
