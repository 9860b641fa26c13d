"""LOSSES of a student against its teacher, one function each, with its paper.

Every function sees one batch and gives its mean, a scalar float32 tensor.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def soft_labels(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Hinton et al. 2015 (arXiv:1503.02531): KL of the softened probabilities, logits (batch, labels), times T².

    T² keeps the gradient's size when the temperature changes.
    """
    p = functional.log_softmax(teacher / temperature, dim=-1)
    q = functional.log_softmax(student / temperature, dim=-1)
    return functional.kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def soft_sets(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """The same for labels that do not exclude each other: each is a coin of its own; logits (batch, labels)."""
    found = functional.binary_cross_entropy_with_logits(student / temperature, torch.sigmoid(teacher / temperature))
    return found * temperature**2


def values(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Of a regression: the mean square difference, (batch, labels). The temperature has no meaning here."""
    return functional.mse_loss(student, teacher)


def hidden_states(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """TinyBERT (Jiao et al. 2019, arXiv:1909.10351), eq. 8: mean square difference of the states of real tokens.

    student and teacher (batch, tokens, width), the student already mapped to the teacher's width; mask (batch, tokens).
    """
    real = mask.bool()
    return functional.mse_loss(student[real], teacher[real])


def attention(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """TinyBERT, eq. 7, on probabilities: mean square difference of attention (batch, heads, tokens, tokens)."""
    real = mask[:, None, :, None].bool().expand_as(student)
    return functional.mse_loss(student[real], teacher[real]) * student.shape[-1]


def value_relations(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """MiniLM v2 (Wang et al. 2020, arXiv:2012.15828): KL of the relations between tokens, for any two widths.

    The states (batch, tokens, width) are cut into `heads` parts; the relation of two tokens is the scaled product of
    their parts, softmax over the second token.
    """
    logs = []
    hole = torch.finfo(torch.float32).min
    for states in (student.float(), teacher.float()):
        batch, tokens, width = states.shape
        parts = states.reshape(batch, tokens, heads, width // heads).transpose(1, 2)
        scores = (parts @ parts.transpose(-1, -2) / (width // heads) ** 0.5).float()  # bfloat16 where training is
        logs.append(functional.log_softmax(scores.masked_fill(~mask[:, None, None, :].bool(), hole), dim=-1))
    q, p = logs
    rows = (p.exp() * (p - q)).sum(dim=-1)  # (batch, heads, tokens)
    real = mask[:, None, :].bool().expand_as(rows)
    return rows[real].mean()


def cosine(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - cosine of each embedding with the teacher's, (batch, dim) both."""
    return (1 - functional.cosine_similarity(student, teacher, dim=-1)).mean()


def similarities(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Similarity-preserving distillation (Tung and Mori 2019, arXiv:1907.09682) on cosines.

    The mean square difference of the cosines of all pairs of the batch, so that the two widths may differ:
    (batch, dim) and (batch, other dim).
    """
    grams = []
    for vectors in (student, teacher):
        unit = functional.normalize(vectors, dim=-1)
        grams.append(unit @ unit.T)
    return functional.mse_loss(*grams)
