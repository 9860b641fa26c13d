"""A short latency table: the bundle's variants beside the checkpoint in PyTorch, in turns, on equal threads."""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import torch
from transformers import AutoModel, logging

import edgeplm
from edgeplm.cli._output import console, table
from edgeplm_runtime.machine import cores_usable


warnings.simplefilter("ignore")
logging.disable_progress_bar()
TURNS = 15
checkpoint, bundle = sys.argv[1:]
threads = cores_usable()
torch.set_num_threads(threads)
model = AutoModel.from_pretrained(checkpoint).eval()


def in_torch(ids: np.ndarray) -> None:
    """The encoder in PyTorch, eager, float32."""
    tensor = torch.from_numpy(ids)
    with torch.inference_mode():
        model(input_ids=tensor, attention_mask=torch.ones_like(tensor))


names = [variant.name for variant in edgeplm.load(bundle).manifest.variants]
engines = {name: edgeplm.load(bundle, name, threads=threads) for name in names}
made = table(f"milliseconds a call, median of {TURNS}, {threads} threads", "rows × tokens", "PyTorch fp32", *engines)
for batch, length in ((1, 16), (1, 128), (8, 32)):
    ids = np.random.default_rng(0).integers(1000, 20000, (batch, length))
    calls = {"torch": in_torch} | {name: engine.forward for name, engine in engines.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(TURNS + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call(ids)
            if turn >= 3:
                times[name].append((time.perf_counter() - start) * 1e3)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    cells = [f"{medians[name]:.2f} (×{medians['torch'] / medians[name]:.1f})" for name in engines]
    made.add_row(f"{batch} × {length}", f"{medians['torch']:.2f}", *cells)
console().print(made)
