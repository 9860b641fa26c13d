"""What PyTorch gives for the probes: the other side of every comparison.

Tokens come from the Hugging Face tokenizer, classifier answers from transformers' own pipeline, sentence
embeddings from sentence-transformers' own encode: nothing here is shared with the device side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TextClassificationPipeline

from edgeplm_export.model import TorchModel
from edgeplm_export.static_sentence import cut_at
from edgeplm_runtime.errors import GateFailed
from edgeplm_runtime.probe import IdsCell


SMALL_TOKENS = 512


@contextlib.contextmanager
def _few_threads(tokens: int) -> Iterator[None]:
    """One thread for little work: on a busy machine the threads wait for one another at every operator.

    Measured on two cores with a load of four: 0.5 s for a batch of one token on two threads, 0.03 s on one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if tokens <= SMALL_TOKENS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, kw_only=True)
class ReferenceTokens:
    """The Hugging Face tokenizer's view of one input, not padded."""

    ids: list[int]
    mask: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]
    truncated: bool


class Reference:
    """A checkpoint in PyTorch that answers probes."""

    def __init__(self, model: TorchModel) -> None:
        """Raises GateFailed when a part of the model is in train mode: dropout would make the reference random."""
        training = [name for name, module in model.forward.named_modules() if module.training]
        if training:
            raise GateFailed(f"the PyTorch reference is not in eval mode ({training[0] or 'the model'} is training).")
        self.model = model
        if model.task == "sentence-similarity":
            # encode() cuts at the length of its own settings, which may be more than asked for or than the model has.
            cut_at(model.forward.inner, model.max_length)

    def outputs(self, cell: IdsCell) -> dict[str, NDArray[np.float32]]:
        """Every output of the graph for these ids; float32."""
        ids = torch.tensor(cell.ids)
        features = {"input_ids": ids, "attention_mask": torch.tensor(cell.mask)}
        features["token_type_ids"] = torch.zeros_like(ids)
        return self._run(features)

    def tokens(self, item: Mapping[str, str]) -> ReferenceTokens:
        """Ids, type ids and character offsets of one input, cut at the model's maximum."""
        details = {"return_offsets_mapping": True, "return_token_type_ids": True, "return_attention_mask": True}
        encoded = self._encode([item], padding=False, **details)
        whole = self._encode([item], padding=False, truncation=False, verbose=False)
        return ReferenceTokens(
            ids=list(encoded["input_ids"][0]),
            mask=list(encoded["attention_mask"][0]),
            type_ids=list(encoded["token_type_ids"][0]),
            offsets=[tuple(pair) for pair in encoded["offset_mapping"][0]],
            truncated=len(whole["input_ids"][0]) > len(encoded["input_ids"][0]),
        )

    def answer(self, item: Mapping[str, str]) -> Any:
        """The answer for one input, computed alone: [{"label", "score"}, …] best first, or an array."""
        batch = self._encode([item], return_tensors="pt", padding=True)
        features = {name: batch[name] for name in batch if name in self.model.forward.inputs}
        if not batch["input_ids"].shape[1]:
            pad = torch.full((1, 1), int(self.model.tokenizer.pad_token_id or 0))
            features = {name: torch.ones_like(pad) if name == "attention_mask" else pad for name in features}
        if self.model.task == "text-classification":
            return self._classify(features)
        if self.model.task == "sentence-similarity":
            return self._sentence(item["text"])
        return self._run(features)["last_hidden_state"][0]

    def _classify(self, features: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        logits = torch.from_numpy(self._run(features)["logits"])
        if self.model.temperature is not None:
            logits = logits / self.model.temperature
        # Without a device it would move the model to a GPU, where the reference is not computed.
        pipeline = TextClassificationPipeline(
            model=self.model.forward.inner, tokenizer=self.model.tokenizer, device="cpu"
        )
        answer: list[dict[str, Any]] = pipeline.postprocess({"logits": logits}, top_k=None, _legacy=False)
        return answer

    def _sentence(self, text: str) -> NDArray[np.float32]:
        encode: Any = self.model.forward.inner.encode
        with _few_threads(len(text)):  # a token has a character at least
            vector = encode([text], show_progress_bar=False, convert_to_numpy=True)[0]
        return np.asarray(vector, dtype=np.float32)

    def _run(self, features: dict[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
        forward = self.model.forward
        zeros = torch.zeros_like(features["input_ids"])
        with torch.no_grad(), _few_threads(zeros.numel()):
            values = forward(*(features.get(name, zeros) for name in forward.inputs))
        return {name: value.float().numpy() for name, value in zip(forward.outputs, values, strict=True)}

    def _encode(self, items: Sequence[Mapping[str, str]], **options: Any) -> Any:
        prompt = self.model.prompts.get(self.model.default_prompt or "", "")
        texts = [prompt + item["text"] for item in items]
        pairs = [item["text_pair"] for item in items] if "text_pair" in items[0] else None
        limit = {"truncation": True, "max_length": self.model.max_length}
        return self.model.tokenizer(texts, pairs, **{**limit, **options})
