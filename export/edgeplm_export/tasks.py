"""The build side of each task: which class loads the checkpoint, and what its graph gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from transformers import AutoModel, AutoModelForSequenceClassification

from edgeplm_export.checkpoint import Checkpoint
from edgeplm_export.families import Family, family_of
from edgeplm_export.labels import read_labels, read_temperature
from edgeplm_export.model import Forward, TorchModel, check_vocabulary, fast_tokenizer, load_pretrained, max_length
from edgeplm_export.sentence import load_sentence_model
from edgeplm_runtime.errors import BadCheckpoint, unknown


@dataclass(frozen=True, kw_only=True)
class BuildTask:
    """How a checkpoint is loaded for a task, and the architectures by which the task is recognized."""

    name: str
    load: Callable[[Checkpoint, Family], TorchModel]
    recognizes: Callable[[str], bool]


def load_model(checkpoint: Checkpoint, task: str | None) -> TorchModel:
    """The checkpoint in torch, float32, eval mode. Raises BadInput (task), BadCheckpoint (head, labels, …)."""
    if task is not None and task not in BUILD_TASKS:
        raise unknown("task", task, BUILD_TASKS)
    row = BUILD_TASKS[task or infer_task(checkpoint)]
    return row.load(checkpoint, family_of(checkpoint.model_type))


def infer_task(checkpoint: Checkpoint) -> str:
    """The task that the checkpoint was trained for, by modules.json or its architecture."""
    if checkpoint.is_sentence_transformer:
        return "sentence-similarity"
    for row in BUILD_TASKS.values():
        if row.recognizes(checkpoint.architecture):
            return row.name
    raise BadCheckpoint(
        f"{checkpoint.name} is a {checkpoint.architecture or 'checkpoint without architectures in its config.json'}; "
        f"its task is not one of {', '.join(BUILD_TASKS)}. Pass --task if it has the head for one of them."
    )


def _load_classifier(checkpoint: Checkpoint, family: Family) -> TorchModel:
    labels = read_labels(checkpoint)
    model, tokenizer = load_pretrained(checkpoint, family, AutoModelForSequenceClassification, unused=())
    if len(labels) != model.config.num_labels:
        raise BadCheckpoint(
            f"{checkpoint.name}: config.json names {len(labels)} labels, its model has {model.config.num_labels}."
        )
    problem_type = getattr(model.config, "problem_type", None)
    plain = _torch_model("text-classification", checkpoint, model, tokenizer, ("logits",))
    temperature = read_temperature(checkpoint)
    return replace(plain, labels=labels, problem_type=problem_type, temperature=temperature, dimension=None)


def _load_encoder(checkpoint: Checkpoint, family: Family) -> TorchModel:
    # A checkpoint without a pooler is whole: the pooler is not part of the last hidden state.
    model, tokenizer = load_pretrained(checkpoint, family, AutoModel, unused=("pooler",))
    return _torch_model("feature-extraction", checkpoint, model, tokenizer, ("last_hidden_state",))


def _torch_model(task: str, checkpoint: Checkpoint, model: Any, tokenizer: Any, outputs: tuple[str, ...]) -> TorchModel:
    fast = fast_tokenizer(tokenizer, checkpoint.name)
    rows = model.get_input_embeddings().num_embeddings
    check_vocabulary(fast, rows, checkpoint.name)
    # A tokenizer of a general class may name inputs that this architecture does not take (type ids of DistilBERT).
    taken = inspect.signature(model.forward).parameters
    inputs = [name for name in fast.model_input_names if name in taken and name != "position_ids"]
    offset = family_of(checkpoint.model_type).position_offset(model.config)
    return TorchModel(
        task=task,
        forward=Forward(model, inputs, outputs).eval(),
        tokenizer=fast,
        config=model.config,
        vocabulary=rows,
        max_length=max_length(fast, model.config, position_offset=offset),
        dimension=int(getattr(model.config, "hidden_size", 0)) or None,
        call_tokens=getattr(model, "call_tokens", None),
    )


BUILD_TASKS: dict[str, BuildTask] = {
    row.name: row
    for row in (
        BuildTask(
            name="text-classification",
            load=_load_classifier,
            recognizes=lambda architecture: architecture.endswith("ForSequenceClassification"),
        ),
        BuildTask(name="sentence-similarity", load=load_sentence_model, recognizes=lambda architecture: False),
        BuildTask(
            name="feature-extraction",
            load=_load_encoder,
            recognizes=lambda architecture: architecture.endswith("Model") and "LMHead" not in architecture,
        ),
    )
}
