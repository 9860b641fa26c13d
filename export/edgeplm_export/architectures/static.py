"""A table of static word-piece vectors, pooled by mean, with a small head: a classifier without attention.

The table is a matrix of its own, as model2vec has it; the weight of each piece (its frequency) is folded into its row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from edgeplm_export.architectures._tables import CALL_TOKENS, masked_sum


class StaticConfig(PretrainedConfig):
    """`hidden_size`: the width of the table; `head_size`: units of the head's hidden layer, 0 for a linear one."""

    model_type = "edgeplm-static"

    def __init__(self, vocab_size: int = 100, hidden_size: int = 64, head_size: int = 64, **rest: Any) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.head_size = head_size
        super().__init__(**rest)


class StaticForSequenceClassification(PreTrainedModel):
    """Token ids (batch, tokens) int64 → logits (batch, labels) float32."""

    call_tokens = CALL_TOKENS
    config_class = StaticConfig
    base_model_prefix = "table"

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(0.2)
        self.hidden = nn.Linear(config.hidden_size, config.head_size) if config.head_size else None
        self.classifier = nn.Linear(config.head_size or config.hidden_size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table (vocabulary, width)."""
        return self.table

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Mean over the tokens that the mask (batch, tokens) leaves, then the head."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weights = mask.to(self.table.weight.dtype)
        pooled = masked_sum(self.table(input_ids), weights) / weights.sum(dim=1, keepdim=True).clamp(min=1)
        pooled = self.dropout(pooled)
        if self.hidden is not None:
            pooled = torch.relu(self.hidden(pooled))
        return SequenceClassifierOutput(logits=self.classifier(pooled))

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialization: transformers calls this for what was not loaded."""


CONFIG, MODEL = StaticConfig, StaticForSequenceClassification
