"""A checkpoint as loaded into torch, in the one form that tracing and the parity reference use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from edgeplm_export.architectures import register
from edgeplm_export.checkpoint import Checkpoint
from edgeplm_export.families import Family
from edgeplm_runtime.errors import BadCheckpoint, EdgePLMError


TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")  # outputs with a token axis
FALLBACK_MAX_LENGTH = 512  # where neither tokenizer nor config sets a limit (XLNet): docs/decisions/0006
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "bpe.codes", "tekken.json", "*.tiktoken")
UNLIMITED = 10**6  # transformers writes 10**30 where a tokenizer knows no limit


class Forward(torch.nn.Module):
    """The computation that becomes the graph: named integer tensors (batch, tokens) in order → named outputs."""

    def __init__(self, inner: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.inner = inner
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One tensor for each name of `inputs`; gives one for each name of `outputs`."""
        features = self.run(dict(zip(self.inputs, tensors, strict=True)))
        return tuple(features[name] for name in self.outputs)

    def run(self, features: dict[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The model's own outputs by name."""
        result: Mapping[str, torch.Tensor] = self.inner(**features, return_dict=True)
        return result


@dataclass(frozen=True, kw_only=True)
class TorchModel:
    """A checkpoint in eval mode, with all that the manifest needs to know of it.

    `config` is the encoder's transformers config. `max_length` in tokens. `labels` in the order of the logits,
    which are divided by `temperature` before they become probabilities. `call_tokens`: what a graph call costs beside
    its tokens, in tokens, where that is more than of a transformer.
    """

    task: str
    forward: Forward
    tokenizer: PreTrainedTokenizerFast
    config: Any
    vocabulary: int
    max_length: int
    labels: tuple[str, ...] | None = None
    problem_type: str | None = None
    temperature: float | None = None
    call_tokens: int | None = None
    dimension: int | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    pairs: Literal["optional", "required", "refused"] = "optional"


def load_pretrained(
    checkpoint: Checkpoint, family: Family, auto_class: Any, *, unused: tuple[str, ...]
) -> tuple[Any, Any]:
    """Model and tokenizer. `unused`: parts whose weights may be missing, since the graph does not use them.

    Raises BadCheckpoint: not loadable, an encoder-decoder, weights missing.
    """
    register()
    common = {"trust_remote_code": checkpoint.trust_remote_code, "local_files_only": True}
    attention = {"attn_implementation": family.attention} if family.attention else {}
    with blamed_on(f"{checkpoint.name} cannot be loaded by transformers"):
        model, info = auto_class.from_pretrained(
            str(checkpoint.path),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            use_safetensors=True,
            dtype=torch.float32,
            **attention,
            **common,
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise BadCheckpoint(f"{checkpoint.name} is an encoder-decoder; this version exports encoders only.")
    for name, found, expected in sorted(info["mismatched_keys"]):
        raise BadCheckpoint(
            f"{checkpoint.name}: the weights of {name} have the shape {tuple(found)}, config.json asks for "
            f"{tuple(expected)}. Use the config.json that was saved with them."
        )
    missing = sorted(key for key in info["missing_keys"] if not any(part in key for part in unused))
    if missing:
        raise BadCheckpoint(
            f"{checkpoint.name} ({checkpoint.architecture}) has no weights for {len(missing)} tensor(s) that this task "
            f"needs ({', '.join(missing[:3])}): they would be random. Fine-tune it first, or name another --task."
        )
    with blamed_on(f"{checkpoint.name} cannot be loaded by transformers: its tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(checkpoint.path), **common)
    # Without any file, transformers invents a tokenizer of a few characters.
    if getattr(tokenizer, "is_fast", False) and not any(any(checkpoint.path.glob(name)) for name in VOCABULARIES):
        raise BadCheckpoint(
            f"{checkpoint.name} holds no tokenizer (tokenizer.json, vocab.txt, …). Save the one that it was trained "
            "with beside the weights."
        )
    return model.eval(), tokenizer


@contextlib.contextmanager
def blamed_on(what: str) -> Iterator[None]:
    """A failure of the libraries below becomes BadCheckpoint, which says `what`, and the library's words."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError, EdgePLMError):
        raise
    except BaseException as error:
        # The tokenizer library panics with a class that is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        raise BadCheckpoint(f"{what}: {words[:400]}") from None


def fast_tokenizer(tokenizer: Any, name: str) -> PreTrainedTokenizerFast:
    """The tokenizer, when the device can do the same: one that the tokenizers library runs."""
    if not getattr(tokenizer, "is_fast", False):
        raise BadCheckpoint(
            f"{name}: its tokenizer {type(tokenizer).__name__} exists only as Python code and could not be converted "
            "to a tokenizer.json. Convert it with transformers (convert_slow_tokenizer) and save it beside the weights."
        )
    if tokenizer.pad_token_id is None:
        raise BadCheckpoint(
            f"{name}: its tokenizer names no padding token, which a batch of texts needs. Set pad_token in "
            "tokenizer_config.json to the one that it was trained with."
        )
    with blamed_on(f"{name}: its tokenizer fails"):
        tokenizer(["a text", "?!", "\u4f60"], ["another", "", "\x00"], padding=True, verbose=False)
    return tokenizer


def max_length(tokenizer: Any, config: Any, *, position_offset: int) -> int:
    """Tokens that the model takes at most: the smaller of the tokenizer's limit and the position table."""
    limits = []
    if 0 < (own := int(tokenizer.model_max_length)) < UNLIMITED:
        limits.append(own)
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # A text longer than the position table would index out of it.
        limits.append(positions - position_offset)
    return min(limits, default=FALLBACK_MAX_LENGTH)


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, rows: int, name: str) -> None:
    """Refuse a tokenizer that can give an id which the embedding table does not have."""
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        token = tokenizer.convert_ids_to_tokens(largest)
        raise BadCheckpoint(
            f"{name}: the tokenizer gives ids up to {largest} ({token!r}), but the embedding table has {rows} rows. "
            "Resize the embeddings (model.resize_token_embeddings) or use the tokenizer that was trained with it."
        )
