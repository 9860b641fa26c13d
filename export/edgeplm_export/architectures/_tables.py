"""What models have in common that only look up rows of a table."""

from __future__ import annotations

import torch


# What a graph call costs beside its tokens, in tokens, Python's part in it counted (docs/scheduling.md).
CALL_TOKENS = 4096


def masked_sum(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Rows (batch, tokens, width) times weights (batch, tokens), added up over the tokens: (batch, width).

    One product, where a copy times the weights and its sum take twice as long in ONNX Runtime.
    """
    return torch.matmul(weights.unsqueeze(1), rows).squeeze(1)
