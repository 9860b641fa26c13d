"""Fixtures of the parity tests: exports with a fault planted in one step, judged by the real gate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers, processors, trainers

from edgeplm_export import pipeline
from edgeplm_export.parity.probes import NASTY, PLAIN
from edgeplm_export.pipeline import ParityFailed, export
from edgeplm_export.toys import make_toy


Judge = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Toys are too small for a second thread, which on a busy machine makes everything ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def refused(tmp_path: Path) -> Judge:
    """Export a checkpoint that has to fail; give the message, after making sure that nothing was written."""

    def judge(checkpoint: Path, **options: Any) -> str:
        place = tmp_path / "place"
        with pytest.raises(ParityFailed) as caught:
            export(str(checkpoint), place / "out", **options)
        assert caught.value.exit_code == 1
        assert caught.value.reports[0].failures
        assert not place.exists()
        return str(caught.value)

    return judge


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a step of the pipeline run, then `change(result, *arguments)`, which gives the new result or None."""

    def plant(step: str, change: Callable[..., Any], where: ModuleType = pipeline) -> None:
        real = getattr(where, step)

        def planted(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            changed = change(result, *args)
            return result if changed is None else changed

        monkeypatch.setattr(where, step, planted)

    return plant


@pytest.fixture(scope="session")
def toy_bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random RoBERTa classifier with a byte-level BPE tokenizer, whose offsets are trimmed as RoBERTa's are."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((*PLAIN, *NASTY), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    folder = make_toy(
        tmp_path_factory.mktemp("bpe") / "roberta", "roberta", vocab_size=tokenizer.get_vocab_size(), pad_token_id=1
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
