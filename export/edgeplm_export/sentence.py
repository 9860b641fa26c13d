"""sentence-transformers checkpoints: every module of modules.json becomes part of the graph.

The modules are run by the sentence-transformers library itself, so that the graph is traced from, and proved
against, the code that defines them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_export.families import Family
from edgeplm_export.model import (
    Forward,
    TorchModel,
    blamed_on,
    check_vocabulary,
    fast_tokenizer,
    load_pretrained,
    max_length,
)
from edgeplm_export.static_sentence import load_static_model
from edgeplm_runtime.errors import BadCheckpoint


# Modules whose forward pass is plain tensor arithmetic on the features of one text.
KNOWN_MODULES = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout", "WeightedLayerPooling")
STATIC = "StaticEmbedding"  # in the first place only


class SentenceForward(Forward):
    """All modules in a row: ids, mask and type ids → last_hidden_state, token_embeddings and sentence_embedding.

    The encoder's own output has two names: optimum and sentence-transformers' onnx backend read last_hidden_state,
    and a later module may change token_embeddings.
    """

    def run(self, features: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The features after the last module."""
        current: dict[str, Any] = dict(features)
        for module in self.inner.children():
            current = module(current)
            current.setdefault("last_hidden_state", current["token_embeddings"])
        return current


def load_sentence_model(checkpoint: Checkpoint, family: Family) -> TorchModel:
    """The checkpoint with its pooling, projections and normalization. Raises BadCheckpoint.

    A plain checkpoint gets mean pooling, as sentence-transformers gives it.
    """
    from sentence_transformers import SentenceTransformer

    _check_modules(checkpoint)
    if not checkpoint.modules:
        warnings.warn(f"{checkpoint.name} has no modules.json: its token embeddings are pooled by mean", stacklevel=2)
    if not checkpoint.is_static:
        # sentence-transformers does not tell which weights it missed.
        load_pretrained(checkpoint, family, AutoModel, unused=("pooler",))
    with blamed_on(f"{checkpoint.name} cannot be loaded by sentence-transformers"):
        model = SentenceTransformer(
            str(checkpoint.path),
            device="cpu",
            trust_remote_code=checkpoint.trust_remote_code,
            local_files_only=True,
            model_kwargs={"attn_implementation": family.attention, "dtype": torch.float32},
        ).eval()
    _check_prompts(checkpoint, model)
    if checkpoint.is_static:
        return load_static_model(checkpoint, model)
    transformer: Any = model[0]
    tokenizer = fast_tokenizer(model.tokenizer, checkpoint.name)
    config = transformer.model.config
    embeddings = transformer.model.get_input_embeddings()
    check_vocabulary(tokenizer, embeddings.num_embeddings, checkpoint.name)
    inputs = [name for name in tokenizer.model_input_names if name != "position_ids"]
    prompts = {name: text for name, text in model.prompts.items() if text is not None}
    return TorchModel(
        task="sentence-similarity",
        forward=SentenceForward(model, inputs, ("last_hidden_state", "token_embeddings", "sentence_embedding")).eval(),
        tokenizer=tokenizer,
        config=config,
        vocabulary=embeddings.num_embeddings,
        max_length=max_length(tokenizer, config, position_offset=family.position_offset(config)),
        dimension=int(model.get_embedding_dimension()),
        prompts=prompts,
        default_prompt=model.default_prompt_name,
        pairs="refused",
    )


def _check_modules(checkpoint: Checkpoint) -> None:
    for place, row in enumerate(checkpoint.modules):
        name = row.kind.rpartition(".")[2]
        known = (*KNOWN_MODULES, STATIC) if place == 0 else KNOWN_MODULES
        if not row.kind.startswith("sentence_transformers.") or name not in known:
            raise BadCheckpoint(
                f"{checkpoint.name}: the module {row.kind} of modules.json is not known, and leaving it out would "
                f"change every embedding. Known: {', '.join(known)}."
            )
        folder = checkpoint.path / row.folder
        if name == "Transformer" and row.folder:
            raise BadCheckpoint(
                f"{checkpoint.name}: modules.json has its transformer in {row.folder}/; this version reads it beside "
                "modules.json only. Load it with sentence-transformers and save it again: that moves it."
            )
        if (folder / "pytorch_model.bin").is_file() and not (folder / "model.safetensors").is_file():
            raise BadCheckpoint(
                f"{checkpoint.name}: the module {folder.name} has its weights only as a pickle. Load it with "
                "sentence-transformers where you trust it and save it again: that writes safetensors."
            )
        if name == "Dense" and not checkpoint.trust_remote_code:
            _check_activation(checkpoint, folder)


def _check_activation(checkpoint: Checkpoint, folder: Path) -> None:
    """Refuse an activation that sentence-transformers would silently replace by tanh."""
    file = folder / "config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        activation = str(settings.get("activation_function", "torch."))
    except (OSError, ValueError, AttributeError) as error:
        raise BadCheckpoint(f"{file} is not readable: {error}.") from None
    if not activation.startswith("torch."):
        raise BadCheckpoint(
            f"{checkpoint.name}: the module {folder.name} has the activation {activation}, which is code outside "
            "torch. Read it; if you trust it, pass --trust-remote-code (trust_remote_code=True)."
        )


def _check_prompts(checkpoint: Checkpoint, model: Any) -> None:
    excluded = any(getattr(module, "include_prompt", True) is False for module in model)
    if excluded and any(model.prompts.values()):
        raise BadCheckpoint(
            f"{checkpoint.name} leaves its prompts out of the pooling (include_prompt: false). The graph cannot know "
            "where a prompt ends, so this checkpoint is refused rather than exported with other embeddings."
        )
