"""The README.md of a bundle: what it is, from what, its figures, how to run it."""

from __future__ import annotations

from edgeplm_runtime.bundle.manifest import Manifest


def card(manifest: Manifest, sizes: dict[str, int]) -> str:
    """The card as Markdown; `sizes` gives each variant's bytes."""
    rows = "\n".join(
        f"| {v.name} | {v.scheme} | {sizes[v.name] / 1e6:.1f} MB | {v.parity.max_abs_error:.2g} | "
        f"{_figure(v.parity.min_cosine)} | {_figure(v.parity.mean_cosine)} | {_figure(v.parity.argmax_agreement)} | {v.parity.batch_drift:.2g} |"
        for v in manifest.variants
    )
    name = manifest.checkpoint.name.rstrip("/").rpartition("/")[2]
    return f"""---
library_name: edgeplm
pipeline_tag: {manifest.task}
tags: [onnx, edgeplm, transformers.js]
---
# {name}, as an EdgePLM bundle

Task: {manifest.task}. Made from the checkpoint `{name}` ({manifest.checkpoint.architecture or manifest.checkpoint.model_type})
with edgeplm {manifest.tools["edgeplm"]}. Every variant was run by the device engine, without torch, and compared with
PyTorch on {manifest.variants[0].parity.cells} cells of batches, lengths and texts (`proof/parity.json`); the worst figures:

| variant | scheme | size | max abs error | min cosine | mean cosine | argmax agreement | drift in a batch |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

Run it:

    pip install 'edgeplm[cpu]'
    edgeplm run . "a text"

Texts are cut at {manifest.text.max_length} tokens. `edgeplm verify .` checks every file; `edgeplm.json` is the manifest.
"""


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}"
