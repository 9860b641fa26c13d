"""The checkpoint in torch as one function, and its plain ONNX exports: what most peers start from."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from edgeplm_runtime.benchmark.protocol import NAMES, Job


class Encoder(torch.nn.Module):
    """The checkpoint as a function of three tensors that gives one.

    `attention`: None for the fastest that the family has, which transformers finds itself.
    """

    def __init__(self, source: str, output: str, attention: str | None = None) -> None:
        super().__init__()
        auto = AutoModel if output == "last_hidden_state" else AutoModelForSequenceClassification
        self.model, self.output = auto.from_pretrained(source, attn_implementation=attention), output
        self.taken = set(inspect.signature(self.model.forward).parameters)  # DistilBERT has no type ids

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Ids, mask, type ids (rows, tokens) int64 → hidden states (rows, tokens, hidden) or logits (rows, labels)."""
        feeds = {name: tensor for name, tensor in zip(NAMES, tensors, strict=True) if name in self.taken}
        return self.model(**feeds, return_dict=True)[self.output]


def export(job: Job, form: str) -> Path:
    """The checkpoint's graph as torch.onnx writes it, made once for all that start from it."""
    path = Path(job.exports) / f"{form}.onnx"
    if path.is_file():
        return path
    exporter, attention = form.split("-")
    ids = torch.randint(5, 100, (2, 9))
    sample = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    if exporter == "dynamo":
        dims = {0: torch.export.Dim("batch_size", min=1), 1: torch.export.Dim("sequence_length", min=1)}
        how: dict[str, Any] = {"dynamic_shapes": (tuple(dims for _ in NAMES),), "external_data": False}
    else:
        axes = {name: {0: "batch_size", 1: "sequence_length"} for name in NAMES}
        rows = {0: "batch_size"} if job.output == "logits" else axes["input_ids"]
        how = {"dynamic_axes": {**axes, job.output: rows}, "opset_version": 17}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    torch.onnx.export(
        Encoder(job.source, job.output, attention).eval(),
        sample,
        str(part),
        input_names=list(NAMES),
        output_names=[job.output],
        dynamo=exporter == "dynamo",
        verbose=False,
        **how,
    )
    part.rename(path)
    return path
