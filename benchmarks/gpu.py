"""How fast is a BERT-base on an NVIDIA GPU: CUDA and TensorRT in fp16 beside torch eager and torch.compile in fp16?

python -m benchmarks.gpu [WORD …]      prints a table, writes gpu.json; ends with a word, and exit code 3, without a GPU

With words, only the candidates whose names have one of them, beside torch eager (gpu-WORD.json).

Published mark: 0.67 ms for 1×128 in fp16, TensorRT on an A100 (docs/providers.md). It needs onnxruntime-gpu in place of
onnxruntime and a torch with CUDA; TensorRT 10 and TensorRT for RTX join where they work. A classifier with random
weights, which is enough for speed; every candidate's logits are compared with torch's float32 ones, and said. Copies
to and from the GPU are counted.
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

from benchmarks._common import BERT_BASE, gpu_name, in_turns, ratio, say, versions, write
from edgeplm.cli._output import console, table
from edgeplm_runtime.errors import EdgePLMError
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.scheduling.buckets import profiles
from edgeplm_runtime.session import GraphSession, SessionSettings, usable


GRID = ((1, 16), (1, 128), (8, 32), (32, 128))
TURNS, WARM_UP = 100, 10
MARK_MS = 0.67  # 1x128 in fp16, TensorRT on an A100: NVIDIA's published figure for BERT-base
OUTPUT = "logits"
LABELS = tuple("ABCDEFGH")
FLOAT, BASE = "torch eager fp32", "torch eager fp16"
# Name, graph, provider, precision, options.
SESSIONS: tuple[tuple[str, str, str, str, dict[str, object]], ...] = (
    ("CUDA fp32", "fused", "CUDA", "fp32", {}),
    ("CUDA fp16", "fp16", "CUDA", "fp16", {}),
    ("CUDA fp16, graphs", "fp16", "CUDA", "fp16", {"cuda_graph": 1}),
    ("CUDA fp16, standard operators", "fp16-portable", "CUDA", "fp16", {}),
    ("TensorRT fp16", "fp16-portable", "TensorRT", "fp16", {}),
    ("TensorRT for RTX fp16", "fp16-portable", "NvTensorRTRTX", "fp16", {}),
)
LACKS = 3  # exit code: this machine lacks something

Call = Callable[[dict[str, Any]], np.ndarray[Any, Any]]


def main() -> None:
    """Measure, or say what is missing."""
    words = sys.argv[1:]
    if problems := missing():
        print("nothing to measure: " + "; ".join(problems), file=sys.stderr)
        sys.exit(LACKS)
    with tempfile.TemporaryDirectory() as place:
        calls, left_out = _candidates(Path(place), words)
        _measure(calls, left_out, "-".join(["gpu", *words]))


def missing() -> list[str]:
    """What this machine lacks for the measurement, in words; empty where it can run."""
    import torch

    found = [f"CUDA: {why}"] if (why := usable(PROVIDERS["CUDA"])) is not None else []
    if not torch.cuda.is_available():
        found.append(f"torch {torch.__version__} finds no GPU")
    return found


def _candidates(place: Path, words: list[str]) -> tuple[dict[str, Call], dict[str, str]]:
    """What is measured, by name, and what cannot be, with the reason."""
    import torch
    from transformers import AutoModelForSequenceClassification

    source, graphs = _graphs(place)
    auto = AutoModelForSequenceClassification.from_pretrained
    eager = auto(source, dtype=torch.float16).cuda().eval()
    compiled = torch.compile(auto(source, dtype=torch.float16).cuda().eval(), mode="reduce-overhead", dynamic=False)

    def torch_call(module: Any) -> Call:
        def call(feeds: dict[str, Any]) -> np.ndarray[Any, Any]:
            with torch.inference_mode():
                tensors = {name: torch.from_numpy(value).cuda() for name, value in feeds.items()}
                found: np.ndarray[Any, Any] = module(**tensors).logits.float().cpu().numpy()
                return found

        return call

    calls = {
        FLOAT: torch_call(auto(source).cuda().eval()),
        BASE: torch_call(eager),
        "torch.compile fp16": torch_call(compiled),
    }
    left_out = {}
    if words:
        calls = {name: call for name, call in calls.items() if name in (FLOAT, BASE) or _named(name, words)}
    for name, graph, provider, precision, options in SESSIONS:
        if words and not _named(name, words):
            continue
        say(f"opening {name}")
        row = PROVIDERS[provider]
        settings = SessionSettings(
            threads=1,
            optimize=True,
            precision=precision,
            options=row.chosen(options),
            inputs=("input_ids", "attention_mask", "token_type_ids"),
            profiles=tuple(profiles(512, budget=32 * 128)),
        )
        try:
            session = GraphSession(graphs[graph], row, settings)
        except EdgePLMError as error:
            left_out[name] = str(error)
            print(f"left out: {name}: {error}", file=sys.stderr)
            continue
        calls[f"{name} ({session.node_share:.0%} of the nodes)"] = partial(_run, session)
    return calls, left_out


def _named(name: str, words: list[str]) -> bool:
    return any(word.casefold() in name.casefold() for word in words)


def _run(session: GraphSession, feeds: dict[str, Any]) -> np.ndarray[Any, Any]:
    return session.run([OUTPUT], {name: feeds[name] for name in session.inputs})[0]


def _graphs(place: Path) -> tuple[Path, dict[str, Path]]:
    """A BERT-base checkpoint with random weights, and its graphs by name."""
    from edgeplm_export.checkpoint import open_checkpoint
    from edgeplm_export.graphs.rewrites import rewrite
    from edgeplm_export.graphs.trace import trace
    from edgeplm_export.quantize import SCHEMES, Wish
    from edgeplm_export.tasks import load_model
    from edgeplm_export.toys import make_toy

    source = make_toy(place / "bert-base", "bert", labels=LABELS, **BERT_BASE)
    # Without the gate: each candidate's answers are compared with torch's anyway.
    checkpoint = open_checkpoint(str(source), revision=None, trust_remote_code=False)
    traced, own = place / "traced.onnx", place / "fused.onnx"
    trace(load_model(checkpoint, "text-classification"), traced, opset=17)
    rewrite(traced, own)
    graphs = {"fused": own}
    for scheme in ("portable", "fp16", "fp16-portable"):
        graphs[scheme] = own.with_name(f"{scheme}.onnx")
        SCHEMES[scheme].apply(own, graphs[scheme], Wish())
    return source, graphs


def _measure(calls: dict[str, Call], left_out: dict[str, str], result: str) -> None:
    document: dict[str, Any] = {
        "gpu": gpu_name(),
        "versions": versions("torch", "transformers", "onnxruntime-gpu"),
        "published_ms_1x128": MARK_MS,
        "left_out": left_out,
    }
    made = table(
        "BERT-base: ms (× torch eager fp16), copies to and from the GPU counted", "", *map(str, GRID), "cosine"
    )
    rows: dict[str, list[str]] = {name: [] for name in calls}
    for rows_, tokens in GRID:
        ids = np.random.default_rng(0).integers(5, 100, (rows_, tokens))
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        samples = in_turns(
            {name: partial(call, feeds) for name, call in calls.items()}, turns=TURNS, warm_up=WARM_UP, pause=0.0
        )
        want = calls[FLOAT](feeds)
        cosines = {name: _cosine(call(feeds), want) for name, call in calls.items()}
        document[f"{rows_}x{tokens}"] = {"ms": samples, "cosine": cosines}
        write(result, document)  # after each, so that an end in the middle keeps the rest
        for name, one in samples.items():
            rows[name].append(f"{statistics.median(one):.2f} (×{ratio(samples[BASE], one):.2f})")
    for name, cells in rows.items():
        made.add_row(name, *cells, f"{min(document[f'{b}x{n}']['cosine'][name] for b, n in GRID):.6f}")
    console().print(made)


def _cosine(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


if __name__ == "__main__":
    main()
