"""Tiny random checkpoints, made on the spot: for tests and for trying a family without a download.

They are real folders (config, safetensors, tokenizer), seconds to export, and mean nothing.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors


WORDS = (
    "the",
    "a",
    "of",
    "and",
    "to",
    "in",
    "is",
    "it",
    "you",
    "that",
    "he",
    "was",
    "for",
    "on",
    "film",
    "good",
    "bad",
)


def make_toy(
    folder: Path,
    model_type: str,
    *,
    head: str = "ForSequenceClassification",
    labels: tuple[str, ...] = ("NEGATIVE", "POSITIVE"),
    problem_type: str | None = None,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Write a random checkpoint of two layers × 32 into `folder`, and give the folder.

    `head` is the ending of the class after the family's name ("Model" for the bare encoder); further keywords
    go into the config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    rows = tokenizer.get_vocab_size()
    settings: dict[str, Any] = {
        "vocab_size": rows,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        # RoBERTa's kin and MPNet count positions from behind the padding id.
        "max_position_embeddings": 66 if model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 64,
        "pad_token_id": 0,
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
        "problem_type": problem_type,
        **config,
    }
    if model_type == "xlnet":  # it has no limit of length, and refuses to be given one
        del settings["max_position_embeddings"]
        settings |= {"d_head": 16, "d_inner": 64}
    torch.manual_seed(seed)
    loaded = transformers.AutoConfig.for_model(model_type, **settings)
    auto = transformers.AutoModel if head == "Model" else transformers.AutoModelForSequenceClassification
    model = auto.from_config(loaded).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # random weights of the usual scale give nearly equal logits for every text
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": 64,
                "padding_side": "left" if model_type == "xlnet" else "right",
                "model_input_names": [
                    name
                    for name in ("input_ids", "attention_mask", "token_type_ids")
                    if name in inspect.signature(model.forward).parameters
                ],
                "pad_token": "[PAD]",
                "unk_token": "[UNK]",
                "cls_token": "[CLS]",
                "sep_token": "[SEP]",
                "mask_token": "[MASK]",
            }
        ),
        encoding="utf-8",
    )
    return folder


def add_sentence_modules(folder: Path, pooling: str = "mean", *, dimension: int = 32, normalize: bool = True) -> Path:
    """Turn a bare toy encoder into a sentence-transformers checkpoint with that pooling mode."""
    rows = ["Transformer", "Pooling"] + (["Normalize"] if normalize else [])
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if not i else f"{i}_{name}",
            "type": f"sentence_transformers.models.{name}",
        }
        for i, name in enumerate(rows)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"embedding_dimension": dimension, "pooling_mode": pooling, "include_prompt": True}),
        encoding="utf-8",
    )
    if normalize:
        (folder / "2_Normalize").mkdir(exist_ok=True)
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 48, "do_lower_case": False}), encoding="utf-8"
    )
    return folder


def _tokenizer() -> tokenizers.Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*special, *WORDS, *letters] + [f"##{letter}" for letter in letters]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


def saturate(checkpoint: Path) -> Path:
    """Give a BERT toy weights and activations whose int8 products saturate on AVX2 without VNNI; and give its folder.

    Neighbouring inputs of a layer get the same full-size weight and activations far from zero, so that almost every
    pair of uint8 × int8 products leaves int16. The answers are as good as before where pairs are added in int32.
    """
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm.weight" in name:
                parameter.fill_(1.0)
            elif "LayerNorm.bias" in name:
                parameter.fill_(3.0)
            # The head stays in float32: it shows the difference of neighbours, what they have in common cancels.
            elif "pooler.dense.weight" in name:
                parameter.copy_(torch.eye(len(parameter)) * 0.2)
            elif name.startswith("classifier.weight"):
                signs = torch.ones_like(parameter)
                signs[0, 1::2], signs[1, 0::2] = -1.0, -1.0
                parameter.copy_(signs)
            elif name.endswith("weight") and "embeddings" not in name:
                pairs = parameter[:, 0::2].sign()  # (outputs, inputs / 2)
                parameter.copy_(pairs.repeat_interleave(2, dim=1) * 0.1)
    model.save_pretrained(checkpoint)
    return checkpoint
