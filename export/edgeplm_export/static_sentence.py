"""sentence-transformers' StaticEmbedding: a table of word vectors whose mean is the embedding, no encoder at all.

The folder has no config.json: modules.json names the class, and its module holds table and tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from edgeplm_export.architectures._tables import CALL_TOKENS, masked_sum
from edgeplm_export.checkpoint import Checkpoint
from edgeplm_export.model import FALLBACK_MAX_LENGTH, Forward, TorchModel, blamed_on, check_vocabulary, fast_tokenizer
from edgeplm_runtime.errors import BadCheckpoint


PADDING = "[EDGEPLM_PAD]"  # where the tokenizer has no padding token whose row is zero


class StaticForward(Forward):
    """Ids and mask (batch, tokens) int64 → sentence_embedding (batch, dim): mean of the rows, then other modules.

    sentence-transformers computes it with EmbeddingBag on texts without padding, which no graph of padded batches can.
    """

    def __init__(self, inner: Any, table: torch.Tensor) -> None:
        super().__init__(inner, ("input_ids", "attention_mask"), ("sentence_embedding",))
        self.table = torch.nn.Embedding.from_pretrained(table)

    def run(self, features: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The features after the last module."""
        weights = features["attention_mask"].to(self.table.weight.dtype)
        total = masked_sum(self.table(features["input_ids"]), weights)
        count = weights.sum(dim=1, keepdim=True)
        current: dict[str, Any] = {"sentence_embedding": total / count.clamp(min=1)}
        for module in list(self.inner.children())[1:]:
            current = module(current)
        return current


def load_static_model(checkpoint: Checkpoint, model: Any) -> TorchModel:
    """A loaded sentence-transformers model that starts with a StaticEmbedding. Raises BadCheckpoint."""
    model.float()  # model2vec saves float16, in which an empty text gives NaN; every reference is float32
    first = model[0]
    table = first.embedding.weight.detach()
    with blamed_on(f"{checkpoint.name}: its tokenizer fails"):
        own = Tokenizer.from_str(first.tokenizer.to_str())
    own.no_truncation()
    own.no_padding()
    own.post_processor = None  # StaticEmbedding asks for no special tokens
    padding = next((token for token in ("[PAD]", "<pad>") if own.token_to_id(token) is not None), None)
    place = None if padding is None else own.token_to_id(padding)
    # A padded place, and a text without any token, must add nothing: their row is zero.
    if place is None or place >= len(table) or bool(table[place].any()):
        padding = PADDING
        own.add_special_tokens([AddedToken(PADDING, special=True)])
        if own.token_to_id(PADDING) != len(table):
            raise BadCheckpoint(
                f"{checkpoint.name}: its tokenizer has {own.get_vocab_size() - 1} pieces, its table {len(table)} rows. "
                "Save the tokenizer that the table was made for."
            )
        table = torch.cat([table, torch.zeros_like(table[:1])])
    tokenizer = fast_tokenizer(PreTrainedTokenizerFast(tokenizer_object=own, pad_token=padding), checkpoint.name)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    check_vocabulary(tokenizer, len(table), checkpoint.name)
    return TorchModel(
        task="sentence-similarity",
        forward=StaticForward(model, table).eval(),
        tokenizer=tokenizer,
        config=PretrainedConfig(),
        vocabulary=len(table),
        max_length=FALLBACK_MAX_LENGTH,  # the class itself has none
        dimension=int(model.get_embedding_dimension()),
        call_tokens=CALL_TOKENS,
        prompts={name: text for name, text in model.prompts.items() if text is not None},
        default_prompt=model.default_prompt_name,
        pairs="refused",
    )


def cut_at(model: Any, tokens: int) -> None:
    """Let sentence-transformers' own encode() cut texts there."""
    first = model[0]
    if hasattr(first, "embedding"):  # a StaticEmbedding knows no limit; its tokenizer does
        first.tokenizer.enable_truncation(tokens)
    else:
        model.max_seq_length = tokens
