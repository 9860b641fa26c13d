"""How fast is a BERT-base on an NVIDIA GPU: CUDA and TensorRT in fp16 beside torch eager and torch.compile in fp16?

python -m benchmarks.gpu      prints one table, writes gpu.json; ends with a word, and exit code 3, without a GPU

Never run on a GPU by us: written and read, not measured. Published mark: 0.67 ms for 1×128 in fp16, TensorRT on an A100
(docs/providers.md). It needs onnxruntime-gpu in place of onnxruntime, a torch with CUDA, and TensorRT 10. Weights are
random, which is enough for speed; every candidate's answers are compared with torch's float32 ones, and said.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np  # the switch above has to be set before ONNX Runtime is imported

from benchmarks._common import in_turns, ratio, versions, write
from edgeplm.cli._output import console, table
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.scheduling.buckets import profiles
from edgeplm_runtime.session import GraphSession, SessionSettings, usable


GRID = ((1, 16), (1, 128), (8, 32), (32, 128))
TURNS = 200
MARK_MS = 0.67  # 1x128 in fp16, TensorRT on an A100: NVIDIA's published figure for BERT-base
OUTPUT = "last_hidden_state"
LACKS = 3  # exit code: this machine lacks something

Call = Callable[[dict[str, Any]], np.ndarray[Any, Any]]


def main() -> None:
    """Measure, or say what is missing."""
    if problems := missing():
        print("nothing to measure: " + "; ".join(problems), file=sys.stderr)
        sys.exit(LACKS)
    with tempfile.TemporaryDirectory() as place:
        calls = _candidates(Path(place))
        _measure(calls)


def missing() -> list[str]:
    """What this machine lacks for the measurement, in words; empty where it can run."""
    import torch

    found = [f"{name}: {why}" for name in ("CUDA", "TensorRT") if (why := usable(PROVIDERS[name])) is not None]
    if not torch.cuda.is_available():
        found.append(f"torch {torch.__version__} finds no GPU")
    return found


def _candidates(place: Path) -> dict[str, Call]:
    import torch
    from transformers import AutoModel

    from edgeplm_export.pipeline import export
    from edgeplm_export.quantize import SCHEMES, Wish
    from edgeplm_export.quantize.standard import write_standard
    from edgeplm_export.toys import make_toy

    torch.manual_seed(0)
    source = make_toy(
        place / "bert-base",
        "bert",
        head="Model",
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
        initializer_range=0.005,  # make_toy multiplies by 4: that is BERT's own
    )
    export(str(source), place / "bundle", task="feature-extraction")
    graph = place / "bundle" / "onnx" / "model.onnx"
    half = place / "half.onnx"
    SCHEMES["fp16"].apply(graph, half, Wish())
    portable = graph.with_name("model_portable.onnx")
    write_standard(graph, portable)
    model = AutoModel.from_pretrained(source).cuda().eval()
    eager = AutoModel.from_pretrained(source).half().cuda().eval()
    compiled = torch.compile(AutoModel.from_pretrained(source).half().cuda().eval(), mode="max-autotune")

    def torch_call(module: Any) -> Call:
        def call(feeds: dict[str, Any]) -> np.ndarray[Any, Any]:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(value).cuda() for name, value in feeds.items()}
                found: np.ndarray[Any, Any] = module(**tensors).last_hidden_state.float().cpu().numpy()
                return found

        return call

    def session_call(path: Path, provider: str, precision: str) -> Call:
        settings = SessionSettings(
            threads=1,
            optimize=True,
            precision=precision,
            inputs=("input_ids", "attention_mask", "token_type_ids"),
            profiles=tuple(profiles(512, budget=32 * 128)),
        )
        session = GraphSession(path, PROVIDERS[provider], settings)
        print(f"{provider} {precision}: {session.node_share:.0%} of the nodes", file=sys.stderr)
        return lambda feeds: session.run([OUTPUT], {name: feeds[name] for name in session.inputs})[0]

    return {
        "torch eager fp32": torch_call(model),
        "torch eager fp16": torch_call(eager),
        "torch.compile fp16": torch_call(compiled),
        "CUDA fp16": session_call(half, "CUDA", "fp16"),
        "TensorRT fp16": session_call(portable, "TensorRT", "fp16"),
    }


def _measure(calls: dict[str, Call]) -> None:
    document: dict[str, Any] = {"versions": versions("torch", "onnxruntime-gpu"), "published_ms_1x128": MARK_MS}
    made = table(
        "BERT-base: ms (× torch eager fp16), copies to and from the GPU counted", "", *map(str, GRID), "cosine"
    )
    rows: dict[str, list[str]] = {name: [] for name in calls}
    for rows_, tokens in GRID:
        ids = np.random.default_rng(0).integers(5, 100, (rows_, tokens))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        samples = in_turns({name: partial(call, feeds) for name, call in calls.items()}, turns=TURNS)
        want = calls["torch eager fp32"](feeds)
        cosines = {name: _cosine(call(feeds), want) for name, call in calls.items()}
        document[f"{rows_}x{tokens}"] = {"ms": samples, "cosine": cosines}
        for name, one in samples.items():
            rows[name].append(f"{statistics.median(one):.2f} (×{ratio(samples['torch eager fp16'], one):.2f})")
    for name, cells in rows.items():
        made.add_row(name, *cells, f"{min(document[f'{b}x{n}']['cosine'][name] for b, n in GRID):.6f}")
    console().print(made)
    write("gpu", document)


def _cosine(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


if __name__ == "__main__":
    main()
