"""What does the engine give on an NVIDIA GPU, raw text to labels: nodes, answers, latency, lists under token budgets?

    python -m benchmarks.gpu_engine      prints tables, writes gpu_engine.json; exit code 3 where there is no GPU

minilm-l6-sst2 is exported and quantized here, each variant through its whole gate on each provider that works; then the
test texts of SST-2 are classified through load(), in turns beside a transformers loop in half precision (texts sorted
by length, batches of as many tokens). Copies to and from the GPU, tokenizing and labels are counted.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np  # the switch above has to be set before ONNX Runtime is imported

from benchmarks._common import WORK, assets, gpu_name, in_turns, say, versions, write
from edgeplm.cli._output import console, table
from edgeplm_runtime.engine import Engine, load
from edgeplm_runtime.errors import EdgePLMError
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.session import usable


MODEL = "minilm-l6-sst2"
LACKS = 3  # exit code: this machine lacks something
NVIDIA = ("CUDA", "TensorRT", "NvTensorRTRTX")
# Provider, variant, options.
ROWS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("CUDA", "fp32", {}),
    ("CUDA", "fp16", {}),
    ("CUDA", "fp16", {"cuda_graph": 1}),
    ("CUDA", "portable", {}),
    ("CUDA", "fp16-portable", {}),
    ("CUDA", "fp16-portable", {"cuda_graph": 1}),
    *((name, variant, {}) for name in NVIDIA[1:] for variant in ("portable", "fp16-portable")),
)
BUDGETS = (1024, 4096, 16384, 65536)
TEXTS = 1821
CALLS, LISTS, CALLERS = 100, 3, 8


def main() -> None:
    """Measure, or say what is missing."""
    working = {name: usable(PROVIDERS[name]) for name in NVIDIA}
    for name, why in working.items():
        if why is not None:
            print(f"left out: {name}: {why}", file=sys.stderr)
    providers = [name for name, why in working.items() if why is None]
    if not providers:
        sys.exit(LACKS)
    texts = _texts()
    document: dict[str, Any] = {
        "model": MODEL,
        "texts": len(texts),
        "seconds": {},
        "left_out": working,
        "gpu": gpu_name(),
        "versions": versions("torch", "transformers", "onnxruntime-gpu"),
    }
    bundle = _bundle(providers, document["seconds"])
    reference = load(bundle, "fp32", "CPU")
    want = _positive(reference, texts)
    peer = _peer()
    document["lists_s"] = {"transformers fp16": {b: _seconds(partial(peer, texts, b)) for b in BUDGETS}}
    document["alone_ms"] = {
        "transformers fp16": in_turns({"": partial(peer, texts[:1], 512)}, turns=CALLS, pause=0.0)[""]
    }
    document["rows"] = {}
    for provider, variant, options in ROWS:
        if provider not in providers:
            continue
        name = f"{variant} on {provider}" + (", graphs" if options else "")
        say(name)
        try:
            document["rows"][name] = _row(bundle, provider, variant, options, texts, want, document)
        except EdgePLMError as error:
            document["rows"][name] = {"error": str(error)}
        write("gpu_engine", document)  # after each, so that an end in the middle keeps the rest
    _print(document)


def _row(
    bundle: Path,
    provider: str,
    variant: str,
    options: dict[str, object],
    texts: list[str],
    want: np.ndarray[Any, Any],
    document: dict[str, Any],
) -> dict[str, Any]:
    """What one way to run gives; its times go into the document beside those of the others."""
    name = f"{variant} on {provider}" + (", graphs" if options else "")
    start = time.perf_counter()
    engine = load(bundle, variant, provider, provider_options=options, allow_fallback=True)
    opened = time.perf_counter() - start
    start = time.perf_counter()
    engine(texts[0])
    first = time.perf_counter() - start
    got = _positive(engine, texts)
    document["alone_ms"][name] = in_turns({"": partial(engine, texts[0])}, turns=CALLS, pause=0.0)[""]
    document["lists_s"][name] = {}
    for budget in BUDGETS:
        sized = load(bundle, variant, provider, provider_options=options, allow_fallback=True, token_budget=budget)
        document["lists_s"][name][budget] = _seconds(partial(sized, texts))
    return {
        "node_share": engine.active.node_share,
        "canary": engine.active.canary,
        "open_s": opened,
        "first_ms": first * 1e3,
        "agreement": float(((got > 0.5) == (want > 0.5)).mean()),
        "max_error": float(np.abs(got - want).max()),
        "callers_differ_by": _together(engine, texts),
    }


def _together(engine: Engine, texts: list[str]) -> float:
    """By how much at most probabilities move when several threads ask at once."""
    parts = [texts[i::CALLERS][:40] for i in range(CALLERS)]
    alone = [_positive(engine, part) for part in parts]
    found: list[Any] = [None] * CALLERS

    def ask(which: int) -> None:
        found[which] = _positive(engine, parts[which])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(float(np.abs(a - b).max()) for a, b in zip(alone, found, strict=True))


def _bundle(providers: list[str], seconds: dict[str, float]) -> Path:
    from edgeplm_export.pipeline import export
    from edgeplm_export.quantizing import quantize

    out = WORK / "bundles" / f"{MODEL}-{'-'.join(providers)}".lower()
    if (out / "edgeplm.json").is_file():
        return out
    with _timed(seconds, "export"):
        found = export(str(assets() / "models" / MODEL), out, providers=providers, keep_going=True, progress=say)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    test = assets() / "data" / "sst2" / "test.tsv"
    # Standard operators on CUDA, too, for comparison; TensorRT knows no others.
    for scheme in ("portable", "fp16", "fp16-portable"):
        able = [name for name in providers if name == "CUDA" or scheme != "fp16"]
        if not able:
            continue
        with _timed(seconds, scheme):
            try:
                quantize(out, scheme=scheme, providers=able, evaluation=test, replace=True, progress=say)
            except EdgePLMError as error:
                print(f"{scheme}: {error}", file=sys.stderr)
    return out


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _texts() -> list[str]:
    lines = (assets() / "data" / "sst2" / "test.tsv").read_text(encoding="utf-8").splitlines()
    at = lines[0].split("\t").index("sentence")
    return [line.split("\t")[at] for line in lines[1 : TEXTS + 1]]


def _positive(engine: Engine, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each text's probability of the second of the two labels."""
    _, second = engine.manifest.labels or ("", "")
    return np.array([one["score"] if one["label"] == second else 1 - one["score"] for one in engine(texts)])


def _seconds(call: Callable[[], object]) -> float:
    """The median of some runs, the first left out: it sees every shape for the first time."""
    call()
    found = []
    for _ in range(LISTS):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def _peer() -> Callable[[list[str], int], object]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = str(assets() / "models" / MODEL)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float16).cuda().eval()

    def run(texts: list[str], budget: int) -> object:
        ids = tokenizer(texts, truncation=True)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        parts = []
        while order:
            rows = max(1, budget // len(ids[order[0]]))
            batch = tokenizer.pad({"input_ids": [ids[i] for i in order[:rows]]}, return_tensors="pt").to("cuda")
            order = order[rows:]
            with torch.inference_mode():
                parts.append(model(**batch).logits.float().softmax(-1))
        return torch.cat(parts).cpu().numpy()

    return run


def _print(document: dict[str, Any]) -> None:
    made = table(f"{MODEL}, {document['texts']} texts", "", "nodes", "opened s", "one text ms", "texts/s under")
    for budget in BUDGETS:
        made.add_column(str(budget))
    made.add_column("max error")
    made.add_column("agrees")
    for name, lists in document["lists_s"].items():
        speeds = [f"{document['texts'] / lists[b]:.0f}" if b in lists else "–" for b in BUDGETS]
        row = document["rows"].get(name, {})
        told = "node_share" in row
        facts = (f"{row['node_share']:.1%}", f"{row['open_s']:.2f}") if told else ("–", "–")
        ends = (f"{row['max_error']:.1e}", f"{row['agreement']:.2%}") if told else ("–", "–")
        made.add_row(name, *facts, f"{statistics.median(document['alone_ms'][name]):.2f}", "", *speeds, *ends)
    console().print(made)
    for name, row in document["rows"].items():
        if "error" in row:
            console().print(f"{name}: {row['error']}")


if __name__ == "__main__":
    main()
