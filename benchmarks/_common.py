"""What the benchmarks share: checkpoints and bundles, timing in turns, environments of peers, results on disk."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from edgeplm_export.bench import environments
from edgeplm_runtime.benchmark.candidates import Gone
from edgeplm_runtime.machine import cores_usable, describe, load_average


HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Bundles and peers' environments; not committed.
WORK = Path(os.environ.get("EDGEPLM_BENCH_WORK") or ROOT / ".interop" / "benchmarks")
PAUSE_SECONDS = 0.02  # between calls, so that one candidate's spinning threads do not slow the next one down


# A BERT-base for make_toy(), whose weights are random and four times the initializer's range: that is BERT's own.
BERT_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "initializer_range": 0.005,
}


def assets() -> Path:
    """The folder of real checkpoints and data; ends the benchmark, saying how to get it, when there is none."""
    folder = Path(os.environ.get("EDGEPLM_ASSETS") or ROOT / ".assets")
    if not (folder / "models").is_dir():
        sys.exit("this benchmark needs the real checkpoints: `make assets`, or set EDGEPLM_ASSETS")
    return folder


def bundle_of(model: str, precisions: Sequence[str] = ("fp32", "int8"), *, source: Path | None = None) -> Path:
    """The bundle of an asset, or of the checkpoint in `source`, exported once."""
    out = WORK / "bundles" / model
    if not (out / "edgeplm.json").is_file():
        from edgeplm_export.pipeline import export

        print(f"exporting {model} …", file=sys.stderr)
        # A variant that fails the gate is left out: a random checkpoint's int8 may.
        export(str(source or assets() / "models" / model), out, precisions=precisions, keep_going=source is not None)
    return out


def mixed_texts(count: int) -> list[str]:
    """Real English texts of mixed length, from WikiText-2: every non-empty line in order, headings included."""
    lines = (assets() / "data" / "wikitext2" / "valid.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.strip() for line in lines if line.strip()]
    return texts[:count]


def in_turns(
    candidates: Mapping[str, Callable[[], object]], *, turns: int, warm_up: int = 3, pause: float = PAUSE_SECONDS
) -> dict[str, list[float]]:
    """Milliseconds of each candidate's calls; every turn calls each of them once, in order, `pause` seconds apart."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(turns + warm_up):
        for name, call in candidates.items():
            time.sleep(pause)
            start = time.perf_counter()
            call()
            if turn >= warm_up:
                samples[name].append((time.perf_counter() - start) * 1e3)
    return samples


def ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """How much faster `other` is than `base`: the median of the ratios turn by turn."""
    return statistics.median(a / b for a, b in zip(base, other, strict=True))


def environment(name: str, *requirements: Sequence[str]) -> Path:
    """The python of a peer's own environment, made once; each list of requirements is one pip call."""
    try:
        return environments.environment(name, requirements, WORK, say)
    except Gone as error:
        sys.exit(f"{name}: {error}")


def say(step: str) -> None:
    """A step of the benchmark, on stderr."""
    print(f"{step} …", file=sys.stderr)


def plain_onnx(model: str) -> Path:
    """A folder with the checkpoint's encoder exported as it is (last_hidden_state), as other tools carry it."""
    folder = WORK / "plain" / model
    if not (folder / "model.onnx").is_file():
        import shutil

        from edgeplm_export.checkpoint import open_checkpoint
        from edgeplm_export.graphs.trace import trace
        from edgeplm_export.tasks import load_model

        source = open_checkpoint(str(assets() / "models" / model), revision=None, trust_remote_code=False)
        folder.mkdir(parents=True, exist_ok=True)
        trace(load_model(source, "feature-extraction"), folder / "model.onnx", opset=17)
        for path in source.path.glob("*.json"):
            shutil.copyfile(path, folder / path.name)
        # fastembed cuts at model_max_length; sentence-transformers and EdgePLM cut this model at 256.
        settings = msgspec.json.decode((folder / "tokenizer_config.json").read_bytes())
        settings["model_max_length"] = 256
        (folder / "tokenizer_config.json").write_bytes(msgspec.json.encode(settings))
    return folder


def write(name: str, document: Mapping[str, Any]) -> None:
    """Store a result beside those of other machines: benchmarks/results/MACHINE/NAME.json."""
    machine = describe()
    features = (
        "amx" if any(f.startswith("amx") for f in machine.isa) else "vnni" if "avx512_vnni" in machine.isa else "plain"
    )
    slug = f"{machine.cpu}-{features}-{machine.cores_usable}cores".lower().replace(" ", "-")
    folder = HERE / "results" / "".join(c for c in slug if c.isalnum() or c in "-_")
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"machine": asdict(machine), "load_at_end": load_average(), "threads": cores_usable(), **document}
    path = folder / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


def versions(*names: str) -> dict[str, str]:
    """The installed versions of packages."""
    from importlib import metadata

    return {name: metadata.version(name) for name in names}


def gpu_name() -> str:
    """The GPU that torch finds, and the CUDA that torch was built with."""
    import torch

    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}" if torch.cuda.is_available() else "none"


def wheel_of_this() -> Path:
    """This project's wheel, built anew."""
    folder = WORK / "wheel"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--disable-pip-version-check",
            "-w",
            str(folder),
            str(ROOT),
        ],
        check=True,
    )
    newest = max(folder.glob("edgeplm-*.whl"), key=lambda path: path.stat().st_mtime)
    assert zipfile.is_zipfile(newest)
    return newest
