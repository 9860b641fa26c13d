"""Hashed n-grams of word pieces with a linear head, as fastText has them (Joulin et al. 2016, arXiv:1607.01759).

A word piece has a row of its own; pairs and triples of pieces are hashed into one table of buckets. The hash is
integer arithmetic on the ids, so it is part of the graph and the device needs only its tokenizer. The character
n-grams of fastText (Bojanowski et al. 2016, arXiv:1607.04606) depend on the piece alone: training adds them up and
`fold` writes the sum into the piece's row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from edgeplm_export.architectures._tables import CALL_TOKENS, masked_sum


# Odd primes of 31 bits at most: with ids below 2^20, id × prime stays far below 2^63.
PRIMES = (1_000_003, 7_368_787, 402_653_189)


class NgramConfig(PretrainedConfig):
    """`buckets`: rows for hashed pairs and triples; `order`: pieces of the longest n-gram, 1 to 3."""

    model_type = "edgeplm-ngram"

    def __init__(
        self, vocab_size: int = 100, hidden_size: int = 16, buckets: int = 1024, order: int = 2, **rest: Any
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.buckets = buckets
        self.order = order
        super().__init__(**rest)


class NgramForSequenceClassification(PreTrainedModel):
    """Token ids (batch, tokens) int64 → logits (batch, labels) float32."""

    call_tokens = CALL_TOKENS
    config_class = NgramConfig
    base_model_prefix = "pieces"

    def __init__(self, config: NgramConfig) -> None:
        super().__init__(config)
        self.pieces = nn.Embedding(config.vocab_size, config.hidden_size)
        self.grams = nn.Embedding(config.buckets, config.hidden_size)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The rows of the word pieces (vocabulary, width)."""
        return self.pieces

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Mean over all n-grams of the tokens that the mask (batch, tokens) leaves, then a linear map."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        pooled = self.pool(self.pieces(input_ids), input_ids, mask)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(pooled)))

    def pool(self, pieces: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Rows of the pieces (batch, tokens, width) and those of their n-grams → their mean (batch, width)."""
        weights = mask.to(pieces.dtype)
        total, count = masked_sum(pieces, weights), weights.sum(dim=1, keepdim=True)
        # A zero before the first token instead of slices: a text of one token has no pairs, and needs no other graph.
        shifted_ids, shifted_mask, mixed, together = input_ids, mask, input_ids * PRIMES[0], mask
        for prime in PRIMES[1 : self.config.order]:
            shifted_ids = nn.functional.pad(shifted_ids, (1, 0))[:, :-1]
            shifted_mask = nn.functional.pad(shifted_mask, (1, 0))[:, :-1]
            mixed, together = mixed + shifted_ids * prime, together * shifted_mask
            weights = together.to(pieces.dtype)
            total = total + masked_sum(self.grams(torch.remainder(mixed, self.config.buckets)), weights)
            count = count + weights.sum(dim=1, keepdim=True)
        return total / count.clamp(min=1)

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialization: transformers calls this for what was not loaded."""


CONFIG, MODEL = NgramConfig, NgramForSequenceClassification
