"""The same computation through each exporter, as plain graphs: what the benchmarks compare and rewrite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks._common import WORK


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


def plain_exports(name: str, auto: Any, source: str, pooled: bool) -> dict[str, Path]:
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
