"""transformer:LxH: the teacher's architecture with fewer layers, and narrower if H is smaller than the teacher's.

Layers start as the teacher's, evenly spaced with the first and the last among them. A narrower student keeps whole
attention heads and the first intermediate units, and sees the residual stream through its principal directions: those
of the teacher's word embeddings. The word embeddings, narrowed or not, stay as they are.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from edgeplm_export.distil.lesson import Lesson
from edgeplm_export.distil.pupil import INNER, EmbeddingPupil
from edgeplm_export.distil.saving import replace
from edgeplm_export.distil.students._student import Built, Student, classifier
from edgeplm_export.training.run import Settings
from edgeplm_runtime.errors import BadInput


SHAPE = re.compile(r"([0-9]+)x([0-9]+)")
LAYER = re.compile(r"^(.*\blayers?\.)([0-9]+)(\..*)$")
# Of BERT's kin: where an axis of a weight runs over attention heads instead of the residual stream.
HEADS_OUT = re.compile(r"\.(query|key|value|[qkv]_lin)\.(weight|bias)$")
HEADS_IN = re.compile(r"\.(attention\.output\.dense|out_lin)\.weight$")
NARROWED = ("bert", "roberta", "distilbert", "electra")


SETTINGS = Settings(epochs=4, batch_size=32, learning_rate=1e-4, patience=4, seed=0)
# Cut to a part of its width a network has lost most of what it knew: it learns more, and a step costs less.
NARROWER = Settings(epochs=6, batch_size=32, learning_rate=5e-4, patience=6, seed=0)


def _shape(words: str | None, lesson: Lesson) -> tuple[int, int]:
    config = lesson.teacher.config
    most, width = int(config.num_hidden_layers), int(config.hidden_size)
    if words is None:
        return max(1, most // 2), width
    match = SHAPE.fullmatch(words)
    if match is None:
        raise BadInput(f"the student transformer:{words} cannot be read; write transformer:LAYERSxWIDTH, like 3x384.")
    layers, asked = int(match[1]), int(match[2])
    if not 1 <= layers <= most or not 1 <= asked <= width:
        raise BadInput(
            f"transformer:{words} is no smaller than the teacher in every way: it has {most} layers of width {width}; "
            f"choose from 1x{width} to {most}x{width}."
        )
    head = width // int(config.num_attention_heads)
    if asked % head:
        raise BadInput(f"transformer:{words}: the width must be a multiple of the teacher's {head} of a head.")
    if asked < width and (config.model_type not in NARROWED or lesson.teacher.task != "text-classification"):
        raise BadInput(
            f"transformer:{words}: a narrower student can be made of {', '.join(NARROWED)} classifiers; this teacher "
            f"is a {config.model_type} for {lesson.teacher.task}. Keep its width: transformer:{layers}x{width}."
        )
    return layers, asked


def _settings(shape: tuple[int, int], lesson: Lesson) -> Settings:
    return SETTINGS if shape[1] == lesson.teacher.config.hidden_size else NARROWER


def _build(lesson: Lesson, shape: tuple[int, int]) -> Built:
    config = copy.deepcopy(lesson.teacher.config)
    teacher: Any = lesson.teacher.forward.inner
    chosen = spaced(int(config.num_hidden_layers), shape[0])
    if lesson.teacher.task == "sentence-similarity":
        return _embedder(lesson, chosen)
    narrow(config, *shape)
    student = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    student.load_state_dict(initial(student.state_dict(), teacher.state_dict(), chosen, _directions(teacher, shape[1])))
    # The teacher's own word vectors: half of all weights, and a small data set shows few of the words.
    student.get_input_embeddings().weight.requires_grad_(False)
    if "attention" in lesson.losses and shape[1] != lesson.teacher.config.hidden_size:
        raise BadInput(
            f"transformer:{shape[0]}x{shape[1]} has fewer heads than the teacher, and attention is learned head by "
            "head. Leave --loss attention out; value_relations compares any two widths."
        )
    inner = tuple(name for name in lesson.losses if name in INNER)
    return classifier(student, lesson, teacher=teacher if inner else None, inner=inner, layers=chosen)


def spaced(most: int, layers: int) -> list[int]:
    """Which of the teacher's layers the student starts from: [0, 2 or 3, 5] for three of six."""
    if layers == 1:
        return [0]
    return [round(index * (most - 1) / (layers - 1)) for index in range(layers)]


def narrow(config: Any, layers: int, width: int) -> None:
    """Set depth and width in a teacher's config; the size of a head and the ratio of the feed-forward stay."""
    factor = width / config.hidden_size
    config.num_attention_heads = round(config.num_attention_heads * factor)
    for name in ("intermediate_size", "hidden_dim"):
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, round(getattr(config, name) * factor))
    if getattr(config, "embedding_size", width) == config.hidden_size:  # ELECTRA may have narrower embeddings
        config.embedding_size = width
    config.hidden_size = width
    config.num_hidden_layers = layers


def _directions(teacher: Any, width: int) -> torch.Tensor | None:
    """Principal directions of the word embeddings (teacher's width, width), orthonormal; None for the full width."""
    table = teacher.get_input_embeddings().weight.detach().double()
    if width == table.shape[1]:
        return None
    _, vectors = torch.linalg.eigh(table.T @ table)  # ascending
    return vectors[:, -width:].flip(1).float()


def initial(
    student: Mapping[str, torch.Tensor],
    teacher: Mapping[str, torch.Tensor],
    chosen: list[int],
    directions: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """The student's first weights, by the names of its own: the teacher's, from the chosen layers, narrowed."""
    found = {}
    for name, mine in student.items():
        match = LAYER.match(name)
        source = f"{match[1]}{chosen[int(match[2])]}{match[3]}" if match else name
        other = teacher[source]
        if other.shape != mine.shape:
            if directions is None:
                raise BadInput(f"the teacher's {source} has the shape {tuple(other.shape)}, not {tuple(mine.shape)}.")
            other = _narrowed(name, other, mine.shape, directions)
        found[name] = other.clone()
    return found


def _narrowed(name: str, weight: torch.Tensor, shape: torch.Size, directions: torch.Tensor) -> torch.Tensor:
    """One weight: each axis of the residual stream is turned into the directions, every other one is cut."""
    wide = directions.shape[0]
    if "LayerNorm" in name and name.endswith("weight"):  # a scale for each axis: its mean over what it is made of
        return (directions**2).T @ weight
    for axis, size in enumerate(shape):
        if weight.shape[axis] == size:
            continue
        heads = (HEADS_OUT.search(name) and axis == 0) or (HEADS_IN.search(name) and axis == 1)
        if weight.shape[axis] == wide and not heads:
            weight = torch.movedim(torch.movedim(weight, axis, -1) @ directions, -1, axis)
        else:
            weight = weight.narrow(axis, 0, size)
    return weight


class _Encoder(torch.nn.Module):
    """All modules of a sentence-transformers model as (ids, mask, type ids or None) → embeddings (batch, dim)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None) -> torch.Tensor:
        features = {"input_ids": ids, "attention_mask": mask}
        if types is not None:
            features["token_type_ids"] = types
        for part in self.model.children():
            features = part(features)
        return features["sentence_embedding"]


def _embedder(lesson: Lesson, chosen: list[int]) -> Built:
    model: Any = copy.deepcopy(lesson.teacher.forward.inner)
    encoder = model[0].model
    config = copy.deepcopy(encoder.config)
    config.num_hidden_layers = len(chosen)
    student = AutoModel.from_config(config, attn_implementation="eager")
    student.load_state_dict(initial(student.state_dict(), encoder.state_dict(), chosen, None))
    model[0].model = student

    def save(folder: Path, temperature: float | None) -> None:
        model.eval()
        replace(folder, lambda place: model.save(str(place), create_model_card=False))

    return Built(module=EmbeddingPupil(_Encoder(model), cosine=True), save=save, logits=None)


STUDENT = Student(
    name="transformer",
    example="transformer:3x384",
    tasks=frozenset({"text-classification", "sentence-similarity"}),
    shape=_shape,
    build=_build,
    settings=_settings,
    scheme="int8-conditioned",
    losses=frozenset(INNER),
)
