"""The README.md of a bundle: what it is, from what, its figures, how to run it."""

from __future__ import annotations

from edgeplm_runtime.bundle.manifest import Manifest, ParitySummary


def card(manifest: Manifest, sizes: dict[str, int], picture: str | None = None) -> str:
    """The card as Markdown; `sizes` gives each variant's bytes, `picture` the frontier's place in the bundle."""
    rows = "\n".join(
        f"| {v.name} | {v.scheme} | {sizes[v.name] / 1e6:.1f} MB | {_figures(v.parity)} |" for v in manifest.variants
    )
    checkpoint = manifest.checkpoint
    judged = [
        f"- **{v.name}**: {' '.join(v.quality.words.split())}" for v in manifest.variants if v.quality is not None
    ]
    kept = [f"- **{v.name}** keeps {len(v.high)} products in float32" for v in manifest.variants if v.high]
    if judged:
        judged.insert(0, "These were made of the fp32 graph and compared with it, as it was with PyTorch:\n")
    quality = "\n\nOn data:\n\n" + "\n".join(judged + kept) + "\n" if judged else ""
    shown = f"\n![size, latency and loss of the variants]({picture})\n" if picture else ""
    # A folder may have any name; in the card it stands on one line, and between backticks.
    name = " ".join(checkpoint.name.replace("`", "'").split())
    return f"""---
library_name: edgeplm
pipeline_tag: {manifest.task}
tags: [onnx, edgeplm, transformers.js]
---
# {name}, as an EdgePLM bundle

Task: {manifest.task}. Made from the checkpoint `{name}` ({checkpoint.architecture or checkpoint.model_type}) with
edgeplm {manifest.tools["edgeplm"]}. Every variant was run by the device engine, without torch, and compared with
PyTorch on {manifest.variants[0].parity.cells} cells of batches, lengths and texts (`proof/parity.json`).
The worst figures:

| variant | scheme | size | max abs error | min cosine | mean cosine | argmax agreement | drift in a batch |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
{quality}{shown}
Run it:

    pip install 'edgeplm[cpu]'
    edgeplm run . "a text"

Texts are cut at {manifest.text.max_length} tokens. `edgeplm verify .` checks every file against `edgeplm.json`.
"""


def _figures(parity: ParitySummary) -> str:
    shares = [parity.min_cosine, parity.mean_cosine, parity.argmax_agreement]
    middle = ["–" if share is None else f"{share:.6f}" for share in shares]
    return " | ".join([f"{parity.max_abs_error:.2g}", *middle, f"{parity.batch_drift:.2g}"])
