"""Run the canary inputs of a bundle on this CPU, whatever it is: how far is each variant from what was proved?

Usage: python edgeplm_canary.py BUNDLE. Prints one line of JSON. It needs only the device side.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from edgeplm_runtime.bundle.canary import VALUES_LIMIT, drift, read_canary
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.machine import describe
from edgeplm_runtime.numerics import cosine
from edgeplm_runtime.providers import provider_named
from edgeplm_runtime.session import GraphSession, SessionSettings, onnxruntime_module


TURNS = 1 if sys.argv[2:] == ["--once"] else 20
bundle = open_bundle(Path(sys.argv[1]))
assert bundle.manifest.canary is not None
canary = read_canary(bundle.path(bundle.manifest.canary))
rows = {}
for variant in bundle.manifest.variants:
    settings = SessionSettings(threads=1, optimize=not variant.optimized)
    session = GraphSession(bundle.path(variant.files[0]), provider_named("CPU"), settings)
    milliseconds = []
    for _ in range(TURNS):
        start = time.perf_counter()
        outputs = []
        for row in canary.ids:
            ids = np.asarray([row], dtype=np.int64)
            feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            used = {name: feeds[name] for name in session.inputs}
            outputs.append(session.run([canary.output], used)[0].astype(np.float32))
        found = drift(canary, variant.name, outputs)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    expected = canary.variants[variant.name]
    pairs = [
        (np.asarray(values, dtype=np.float32), output.reshape(-1)[:VALUES_LIMIT])
        for values, output in zip(expected.values, outputs, strict=True)
    ]
    rows[variant.name] = {
        "max_error": max(float(np.abs(want - got).max()) for want, got in pairs),
        "largest_value": max(float(np.abs(want).max()) for want, _ in pairs),
        "min_cosine": min(float(cosine(want[None], got[None])[0]) for want, got in pairs),
        "refused": found,
        "first_ms": milliseconds[0],
        "median_ms": statistics.median(milliseconds),
    }
facts = {
    "isa": describe().isa,
    "architecture": describe().architecture,
    "onnxruntime": onnxruntime_module().__version__,
}
print(json.dumps({**facts, "inputs": len(canary.ids), "tokens": sum(map(len, canary.ids)), "variants": rows}))
