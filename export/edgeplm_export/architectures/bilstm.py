"""A bidirectional LSTM over word pieces, its states pooled by maximum (Tang et al. 2019, arXiv:1903.12136).

The two directions are two plain LSTMs, the second over the reversed tokens: padding on the right reaches no real
token, and the graph needs no packed sequences. Tokens are padded on the right only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class BilstmConfig(PretrainedConfig):
    """`embedding_size`: the width of the word vectors, `hidden_size`: the units of each direction."""

    model_type = "edgeplm-bilstm"

    def __init__(
        self, vocab_size: int = 100, embedding_size: int = 64, hidden_size: int = 64, head_size: int = 64, **rest: Any
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.head_size = head_size
        super().__init__(**rest)


class BilstmForSequenceClassification(PreTrainedModel):
    """Token ids (batch, tokens) int64, padded on the right → logits (batch, labels) float32."""

    config_class = BilstmConfig
    base_model_prefix = "table"

    def __init__(self, config: BilstmConfig) -> None:
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.embedding_size)
        self.onward = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.backward_ = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.hidden = nn.Linear(2 * config.hidden_size, config.head_size)
        self.classifier = nn.Linear(config.head_size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table (vocabulary, width)."""
        return self.table

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Both directions, the maximum over the tokens that the mask (batch, tokens) leaves, then the head."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        length = mask.sum(dim=1, keepdim=True)
        place = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1
        words = self.dropout(self.table(input_ids))  # one look-up: a graph that has two tables is twice as large
        index = torch.remainder(length - 1 - place, input_ids.shape[1]).unsqueeze(-1).expand_as(words)
        states = torch.cat([self.onward(words)[0], self.backward_(torch.gather(words, 1, index))[0]], dim=-1)
        # A state lies between -1 and 1, so that -1 at padding wins nowhere.
        hole = (1 - mask).to(states.dtype).unsqueeze(-1) * 2
        pooled = (states - hole).max(dim=1).values
        return SequenceClassifierOutput(logits=self.classifier(torch.relu(self.hidden(self.dropout(pooled)))))

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialization: transformers calls this for what was not loaded."""


CONFIG, MODEL = BilstmConfig, BilstmForSequenceClassification
