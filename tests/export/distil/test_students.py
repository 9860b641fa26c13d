"""What a student starts from, and that its parts do what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from edgeplm_export.architectures.bilstm import BilstmConfig, BilstmForSequenceClassification
from edgeplm_export.architectures.ngram import NgramConfig, NgramForSequenceClassification
from edgeplm_export.architectures.static import StaticConfig, StaticForSequenceClassification
from edgeplm_export.distil.students.ngram import Learning, character_grams
from edgeplm_export.distil.students.transformer import initial, narrow, spaced
from edgeplm_export.toys import make_toy


MODELS: dict[str, Callable[[], Any]] = {
    "static": lambda: StaticForSequenceClassification(StaticConfig(vocab_size=50, hidden_size=8)),
    "ngram": lambda: NgramForSequenceClassification(NgramConfig(vocab_size=50, hidden_size=8, buckets=64, order=3)),
    "bilstm": lambda: BilstmForSequenceClassification(BilstmConfig(vocab_size=50, embedding_size=8, hidden_size=8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids = torch.tensor([[2, 7, 9, 3], [2, 5, 3, 0], [2, 3, 0, 0]])
    mask = (ids != 0).long()
    with torch.no_grad():
        together = model(ids, mask).logits
        alone = torch.cat([model(row[m.bool()][None]).logits for row, m in zip(ids, mask, strict=True)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_of_padding_alone_gives_numbers(name: str) -> None:
    model = MODELS[name]().eval()
    with torch.no_grad():
        logits = model(torch.tensor([[2, 3], [0, 0]]), torch.tensor([[1, 1], [0, 0]])).logits
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["ngram", "bilstm"])
def test_the_order_of_words_matters_to_ngrams_and_lstm(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        one, other = model(torch.tensor([[2, 7, 9, 3], [2, 9, 7, 3]])).logits
    assert not torch.allclose(one, other)


def test_character_ngrams_are_folded_into_the_rows_of_the_pieces() -> None:
    torch.manual_seed(0)
    tokens = ["[PAD]", "good", "goods", "##ness", "x"]
    model = NgramForSequenceClassification(NgramConfig(vocab_size=5, hidden_size=4, buckets=16))
    learning = Learning(model, character_grams(tokens)).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        expected = learning(ids, torch.ones_like(ids)).logits
        assert torch.allclose(learning.folded().eval()(ids).logits, expected, atol=1e-6)
        assert not torch.allclose(model.eval()(ids).logits, expected, atol=1e-4)


def test_pieces_that_share_characters_share_their_ngrams() -> None:
    good, goods, other = (set(row[row > 0].tolist()) for row in character_grams(["good", "goods", "bad"]))
    assert good & goods
    assert not good & other


@pytest.mark.parametrize(
    ("most", "layers", "wanted"), [(6, 3, [0, 2, 5]), (6, 2, [0, 5]), (6, 1, [0]), (6, 6, [0, 1, 2, 3, 4, 5])]
)
def test_layers_are_taken_evenly_with_both_ends(most: int, layers: int, wanted: list[int]) -> None:
    assert spaced(most, layers) == wanted


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
def test_a_student_of_all_layers_is_the_teacher(family: str, tmp_path: Path) -> None:
    teacher = transformers.AutoModelForSequenceClassification.from_pretrained(make_toy(tmp_path / "t", family))
    student = type(teacher)(teacher.config)
    student.load_state_dict(initial(student.state_dict(), teacher.state_dict(), [0, 1], None))
    ids = torch.tensor([[2, 8, 9, 10, 3]])
    with torch.no_grad():
        assert torch.equal(student.eval()(ids).logits, teacher.eval()(ids).logits)


def test_a_narrower_student_keeps_what_lies_in_the_directions(tmp_path: Path) -> None:
    teacher = transformers.AutoModelForSequenceClassification.from_pretrained(make_toy(tmp_path / "t", "bert"))
    config = transformers.AutoConfig.from_pretrained(tmp_path / "t")
    narrow(config, 1, 16)
    student = type(teacher)(config)
    directions = torch.linalg.qr(torch.randn(32, 16))[0]
    weights = initial(student.state_dict(), teacher.state_dict(), [1], directions)
    student.load_state_dict(weights)
    name = "bert.encoder.layer.{}.attention.self.query.weight"
    wanted = (teacher.state_dict()[name.format(1)] @ directions)[:16]  # whole heads, the turned stream
    assert torch.allclose(weights[name.format(0)], wanted, atol=1e-6)
    assert config.num_attention_heads == 1
    assert config.intermediate_size == 32
