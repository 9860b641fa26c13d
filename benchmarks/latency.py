"""How long does one call of the graph take, beside torch eager and plain ONNX Runtime on several exports?

One process, 2 threads (or the cores that may be used), every candidate once a turn. Token ids in, logits or
sentence embedding out. All ONNX Runtime sessions stop spinning between calls, so that they do not disturb each other.
"""

from __future__ import annotations

import os
import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


os.environ["ORT_DISABLE_TELEMETRY"] = "1"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402  # the switch above has to be set before ONNX Runtime is imported
import onnxruntime as ort  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModel, AutoModelForSequenceClassification, logging  # noqa: E402

from benchmarks._common import WORK, assets, bundle_of, in_turns, ratio, versions, write  # noqa: E402
from edgeplm.cli._output import console, table  # noqa: E402
from edgeplm_runtime.engine import load  # noqa: E402
from edgeplm_runtime.machine import cores_usable  # noqa: E402


MODELS = ("all-minilm-l6-v2", "minilm-l6-sst2")
GRID = ((1, 16), (1, 128), (8, 32), (32, 128))
NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Plain(torch.nn.Module):
    """The encoder with mean pooling, or the classifier: what the plain exports hold."""

    def __init__(self, model: Any, pooled: bool) -> None:
        super().__init__()
        self.model, self.pooled = model, pooled

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Ids, mask and type ids → unit sentence embedding or logits."""
        out = self.model(**dict(zip(NAMES, tensors, strict=True)), return_dict=True)
        if not self.pooled:
            return out.logits
        mask = tensors[1].unsqueeze(-1).float()
        mean = (out.last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def main() -> None:
    """Measure every model; print a table for each, write one JSON."""
    threads = cores_usable()
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    torch.set_num_threads(threads)
    logging.disable_progress_bar()
    document: dict[str, Any] = {"turns": turns, "versions": versions("torch", "transformers", "onnxruntime")}
    for name in MODELS:
        candidates = _candidates(name, threads)
        made = table(
            f"{name}: ms (× torch eager), {threads} threads, {turns} turns", "candidate", *(f"{b}×{n}" for b, n in GRID)
        )
        cells = {}
        for batch, length in GRID:
            ids = np.random.default_rng(0).integers(1000, 20000, (batch, length))
            feeds = (ids, np.ones_like(ids), np.zeros_like(ids))
            _same_answers(candidates, feeds)
            calls = {key: partial(call, *feeds) for key, call in candidates.items()}
            cells[f"{batch}x{length}"] = in_turns(calls, turns=_turns(batch * length, turns))
        for key in candidates:
            row = [
                f"{statistics.median(samples[key]):.2f} (×{ratio(samples['torch eager fp32'], samples[key]):.2f})"
                for samples in cells.values()
            ]
            made.add_row(key, *row)
        console().print(made)
        document[name] = cells
    write("latency", document)


def _turns(tokens: int, turns: int) -> int:
    """More turns for short calls: waking the second core takes as long as they do, and varies."""
    return 4 * turns if tokens < 64 else turns if tokens < 1000 else max(8, turns // 5)


def _candidates(name: str, threads: int) -> dict[str, Callable[..., Any]]:
    pooled = name != "minilm-l6-sst2"
    auto = AutoModel if pooled else AutoModelForSequenceClassification
    source = str(assets() / "models" / name)
    eager = Plain(auto.from_pretrained(source), pooled).eval()

    def in_torch(*feeds: np.ndarray) -> Any:
        with torch.inference_mode():
            return eager(*map(torch.from_numpy, feeds)).numpy()

    bundle = bundle_of(name)
    found: dict[str, Callable[..., Any]] = {"torch eager fp32": in_torch}
    for key, path in _plain_exports(name, auto, source, pooled).items():
        found[f"ONNX Runtime, {key}"] = _session(path, threads)
    for variant in ("fp32", "int8"):
        engine = load(bundle, variant, threads=threads)
        output = engine.task.output
        found[f"EdgePLM {variant}"] = lambda *feeds, engine=engine, output=output: engine.forward(*feeds)[output]
    return found


def _plain_exports(name: str, auto: Any, source: str, pooled: bool) -> dict[str, Path]:
    """The same computation through each exporter, and through onnxruntime.transformers' full fusion."""
    folder = WORK / "exports" / name
    folder.mkdir(parents=True, exist_ok=True)
    ids = torch.randint(1000, 2000, (2, 9))
    sample = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    axes = {key: {0: "batch_size", 1: "sequence_length"} for key in NAMES}
    found = {}
    for attention in ("sdpa", "eager"):
        model = Plain(auto.from_pretrained(source, attn_implementation=attention), pooled).eval()
        for dynamo in (True, False):
            path = folder / f"{attention}-{'dynamo' if dynamo else 'torchscript'}.onnx"
            if not path.is_file():
                if dynamo:
                    dim = {0: torch.export.Dim("batch_size", min=1), 1: torch.export.Dim("sequence_length", min=1)}
                    how: dict[str, Any] = {"dynamic_shapes": (tuple(dim for _ in NAMES),), "external_data": False}
                else:
                    how = {"dynamic_axes": axes, "opset_version": 17}
                torch.onnx.export(
                    model, sample, str(path), input_names=list(NAMES), dynamo=dynamo, verbose=False, **how
                )
            found[path.stem] = path
    fused = folder / "fused.onnx"
    if not fused.is_file():
        from onnxruntime.transformers import optimizer

        config = auto.from_pretrained(source).config
        optimizer.optimize_model(
            str(found["eager-torchscript"]),
            model_type="bert",
            num_heads=config.num_attention_heads,
            hidden_size=config.hidden_size,
        ).save_model_to_file(str(fused))
    return {**found, "onnxruntime.transformers": fused}


def _session(path: Path, threads: int) -> Callable[..., Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = [i.name for i in session.get_inputs()]
    return lambda *feeds: session.run(None, {n: v for n, v in zip(NAMES, feeds, strict=True) if n in wanted})[0]


def _same_answers(candidates: dict[str, Callable[..., Any]], feeds: tuple[np.ndarray, ...]) -> None:
    """A candidate that answers otherwise would not be measured against the same work."""
    want = candidates["torch eager fp32"](*feeds)
    for key, call in candidates.items():
        error = float(np.abs(call(*feeds) - want).max())
        allowed = 0.5 if "int8" in key else 1e-4
        if error > allowed:
            sys.exit(f"{key} differs from torch by {error:.2g}")


if __name__ == "__main__":
    main()
