"""The table of words gives the library's ids, and leaves to the library what it cannot know."""

from __future__ import annotations

import random
import string

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from edgeplm_runtime.text import words
from edgeplm_runtime.text.words import words_of


PIECES = (
    "good",
    "bad",
    "movie",
    "un",
    "##able",
    "##s",
    "##ing",
    "a",
    "b",
    "A",
    "1",
    "##0",
    "'",
    "!",
    "-",
    "##x",
    "GOOD",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def bert(*, lowercase: bool = True, added: tuple[str, ...] = SPECIAL) -> tokenizers.Tokenizer:
    """A tokenizer as BERT's is."""
    vocabulary = {piece: number for number, piece in enumerate((*SPECIAL, *PIECES))}
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(list(added))
    return made


@pytest.mark.parametrize("lowercase", [True, False])
def test_plain_texts_get_the_ids_of_the_library(lowercase: bool) -> None:
    library = bert(lowercase=lowercase)
    found = words_of(library)
    assert found is not None
    chance = random.Random(0)
    alphabet = [
        *string.printable,
        *PIECES,
        "goods",
        "unable",
        "A10",
        "Movie",
        "x" * 101,
        "[MASK]",
        "é",
        "好",
        "\0",
        "\x1c",
    ]
    looked_up = 0
    for _ in range(3000):
        text = "".join(chance.choice(alphabet) for _ in range(chance.randint(0, 20)))
        ids = found.ids(text)
        if ids is not None:
            looked_up += 1
            assert ids == library.encode(text).ids, repr(text)
    assert looked_up > 1000


@pytest.mark.parametrize("text", ["façade", "a [MASK] b", "a\0b", "a\x0bb", "a\x7f", "\u200b", "［"])
def test_a_text_that_is_not_plain_is_left_to_the_library(text: str) -> None:
    found = words_of(bert())
    assert found is not None
    assert found.ids(text) is None


def test_tokenizers_that_read_words_otherwise_have_no_table() -> None:
    assert words_of(bert()) is not None
    other = bert()
    other.normalizer = normalizers.Sequence([normalizers.BertNormalizer()])
    assert words_of(other) is None
    other = bert()
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    assert words_of(other) is None
    assert words_of(tokenizers.Tokenizer(models.BPE())) is None
    other = bert()
    other.post_processor = processors.TemplateProcessing(
        single="[CLS] $A:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    assert words_of(other) is None


def test_an_added_token_that_starts_like_a_word_forbids_the_table() -> None:
    assert words_of(bert(added=(*SPECIAL, "goodness"))) is None


def test_the_tables_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "MOST_WORDS", 50)
    library = bert()
    found = words_of(library)
    assert found is not None
    for number in range(500):
        text = f"good w{number}"
        assert found.ids(text) == library.encode(text).ids
    assert len(found._parts) <= 50
    assert len(found._parts._words) <= 50
