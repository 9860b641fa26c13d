"""What a variant has to answer: the probes' answers, from PyTorch or from a variant that was proved against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from edgeplm_export.model import TorchModel, blamed_on
from edgeplm_export.parity.device import numpy_of, plain_answer, run_device
from edgeplm_export.parity.probes import PLAIN, STREAM, Asked, Probes, make_probes
from edgeplm_export.parity.reference import Reference
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.probe import Job, TextCell
from edgeplm_runtime.text.items import Item
from edgeplm_runtime.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The answers to the probes, computed once for all variants.

    `inputs` and `outputs` are the graph's. `values` has the outputs for each ids cell, float32 arrays by name;
    `answered` the tokens and the answer of each input of the text cells, by the input's texts; `plain` the token ids
    of the plain sentences.
    """

    task: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    probes: Probes
    values: list[dict[str, NDArray[np.float32]]]
    answered: Mapping[tuple[str, ...], tuple[Any, Any]]
    plain: tuple[tuple[int, ...], ...]
    whose: str

    def tokens(self, cell: TextCell) -> list[Any]:
        """The expected tokens of each input of a cell."""
        return [self.answered[tuple(item.values())][0] for item in cell.items]

    def answers(self, cell: TextCell) -> list[Any]:
        """The expected answer to each input of a cell."""
        return [self.answered[tuple(item.values())][1] for item in cell.items]


def from_torch(model: TorchModel) -> Expectation:
    """PyTorch's answers. Raises BadCheckpoint for a probe that PyTorch itself cannot answer."""
    reference, probes = Reference(model), make_probes(asked(model))
    values = []
    for ids in probes.ids:
        with blamed_on(f"the checkpoint fails in PyTorch itself, on {ids.name}"):
            values.append(reference.outputs(ids))
    answered: dict[tuple[str, ...], tuple[Any, Any]] = {}
    for cell in probes.texts:
        for item in cell.items:
            key = tuple(item.values())
            if key not in answered:
                with blamed_on(f"the checkpoint fails in PyTorch itself, on the text {item['text'][:60]!r}"):
                    answered[key] = (reference.tokens(item), reference.answer(item))
    return Expectation(
        task=model.task,
        inputs=model.forward.inputs,
        outputs=model.forward.outputs,
        probes=probes,
        values=values,
        answered=answered,
        plain=tuple(tuple(reference.tokens({"text": text}).ids) for text in PLAIN),
        whose="PyTorch",
    )


def from_variant(bundle: Bundle, variant: str, outputs: tuple[str, ...]) -> Expectation:
    """The answers of one variant of a bundle, on the device engine. Raises GateFailed when it does not run."""
    text = bundle.manifest.text
    tokenizer = Tokenizer(bundle.path(text.tokenizer), text)
    prompt = text.prompts.get(text.default_prompt or "", "")
    plain = tokenizer.encode([Item(text=prompt + words, text_pair=None, position=0) for words in PLAIN])
    # Uncut, as the Hugging Face tokenizer is asked in `asked`: the grid has to be the same one.
    uncut = tokenizers.Tokenizer.from_file(str(bundle.path(text.tokenizer)))
    uncut.no_truncation()
    uncut.no_padding()
    probes = make_probes(
        Asked(
            stream=uncut.encode(" ".join(STREAM)).ids,
            max_length=text.max_length,
            pairs=text.pairs,
            padding_side=text.padding_side,
            pad_token_id=text.pad_token_id,
        )
    )
    job = Job(bundle=str(bundle.root), variant=variant, outputs=outputs, ids=probes.ids, texts=probes.texts)
    result = run_device(job)
    answered = {
        tuple(item.values()): (tokens, plain_answer(answer))
        for cell, found in zip(probes.texts, result.texts, strict=True)
        if len(cell.items) == 1
        for item, tokens, answer in zip(cell.items, found.tokens, found.answers, strict=True)
    }
    return Expectation(
        task=bundle.manifest.task,
        inputs=text.inputs,
        outputs=outputs,
        probes=probes,
        values=[{name: numpy_of(value) for name, value in cell.items()} for cell in result.ids],
        answered=answered,
        plain=tuple(tuple(one.ids) for one in plain),
        whose=variant,
    )


def asked(model: TorchModel) -> Asked:
    """The facts about a checkpoint on which the grid depends."""
    return Asked(
        stream=[int(token) for token in model.tokenizer(" ".join(STREAM), verbose=False)["input_ids"]],
        max_length=model.max_length,
        pairs=model.pairs,
        padding_side=model.tokenizer.padding_side,
        pad_token_id=int(model.tokenizer.pad_token_id or 0),
    )
