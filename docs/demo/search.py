"""Which sentence is nearest to a query? Runs on the device side: torch cannot be imported here."""

from __future__ import annotations

import sys

from edgeplm_runtime.probe import FORBIDDEN, Blocker


sys.meta_path.insert(0, Blocker())  # any import of torch, transformers, onnx … raises from here on

import edgeplm  # noqa: E402  # after the blocker: that is the point of this script


SENTENCES = [
    "The cat sleeps on the warm window sill.",
    "Interest rates were raised by half a percent.",
    "Add two eggs and a cup of flour, then stir.",
    "The striker scored twice in the second half.",
    "Our telescope found water vapour on a distant planet.",
    "The train to Vienna leaves from platform nine.",
]
QUERIES = ["How do I make pancake batter?", "Who won the football match?", "monetary policy of the central bank"]

with edgeplm.load(sys.argv[1]) as engine:
    print(engine.active)
    sentences = engine(SENTENCES)  # (sentences, 384) float32, unit length
    queries = engine(QUERIES)
    for query, scores in zip(QUERIES, queries @ sentences.T, strict=True):
        best = int(scores.argmax())
        print(f"  {query!r}\n      → {SENTENCES[best]!r} (cosine {scores[best]:.3f})")

loaded = sorted(name for name in FORBIDDEN if name in sys.modules)
print("build-side packages in this process:", loaded or "none")
