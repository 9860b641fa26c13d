"""The check of tokenizer patterns: the known tokenizers pass, repeats of repeats are named."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeplm_runtime.errors import BadBundle
from edgeplm_runtime.text.patterns import refuse_exponential_patterns


UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
KIMI_WORD = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{M}&&[^\p{Han}]]+"

KNOWN = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k and llama 3": CL100K,
    "cl100k with possessive repeats": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
        r"|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k and llama 4": (
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?"
        rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "qwen": CL100K.replace("{1,3}", ""),
    "kimi, with class intersections": r"[\p{Han}]+|" + KIMI_WORD + CONTRACTIONS + r"?|\p{N}{1,3}|\s+",
    "clip": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "deepseek": (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "deepseek han": "[一-龥぀-ゟ゠-ヿ]+",
    "starcoder digits": r"\p{N}",
    "falcon digits": r"[0-9][0-9][0-9]",
    "bloom, with a bracket inside a class": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "digits in threes from the right": r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    "xlm-roberta spaces": r" {2,}",
    "albert quotes": r"``|''",
    "whitespace": r"\s+",
}

EXPONENTIAL = {
    "a repeat of a repeat": r"(a+)+$",
    "a star of a star": r"(a*)*",
    "a repeat in an inner group": r"((a+)b?)+",
    "a repeat in one alternative": r"(a|a+)*",
    "a group without capture": r"(?:\s*\w)*x",
    "a named group": r"(?<word>\w+)+",
    "a group with flags": r"(?i:a+)+",
    "a lookahead": r"(?=a+)*",
    "a lookbehind": r"(?<=a+)*",
    "inside a lookahead": r"x(?=(a+)+$)",
    "a lazy repeat": r"(a+?)+",
    "an open count": r"(a{2,}){3,}",
    "a count so high that it is as good as open": r"(a+){1,1000}",
    "a count without a lower end": r"(a{,500})*",
    "a class": r"([^\]]+)*",
    "a class with a class in it": r"(?:[^\p{L}&&[a)]]*)*",
    "an escape with braces": r"(\p{L}+)*",
    "a count that the ruby syntax repeats": r"a{2,}+",
    "a lazy repeat that is repeated": r"a+?+",
    "a call of a group": r"(?<word>a+)b\g<word>*",
    "an atomic group that holds one": r"(?>(a+)+)",
    "an escaped backslash before the repeat": r"(\\+)+",
}

HARMLESS = {
    "a possessive inner repeat": r"(a++)+",
    "a possessive outer repeat": r"(a+)++",
    "a possessive group in a repeat": r"((a+)++)+",
    "an atomic group": r"(?>a+)+",
    "an atomic group in a repeat": r"(?:(?>a+)b)*",
    "an escaped parenthesis": r"\(a+\)+",
    "an escaped plus": r"(a\+)+",
    "a parenthesis in a class": r"[(a+)]+",
    "a bracket first in a class": r"[](a+)]+",
    "a bracket first in a negated class": r"[^](a+)]+",
    "a posix class": r"[[:alpha:]+]+",
    "a fixed count": r"(a{3})+",
    "a few repeats of a repeat": r"(a+){1,3}",
    "an optional group": r"(a+)?",
    "switched flags": r"(?i)a+",
    "a brace that counts nothing": r"(a{b,})+",
    "an empty pattern": "",
}

UNREADABLE = {
    "a group that is never closed": ("(a", "never closes its group"),
    "a group that is never opened": ("a)", "never opened"),
    "a class that is never closed": ("[a", "never closes its character class"),
    "a comment that hides a repeat": ("(a+)(?#b)+", "comment"),
    "the extended mode": ("(?x)(a+) +", "extended mode"),
    "the extended mode of one group": ("(?ix:(a+) +)", "extended mode"),
}


def tokenizer_with(pattern: object) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {
        "normalizer": {"type": "Replace", "pattern": {"String": "(a+)+"}, "content": " "},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, split]},
        "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
    }


@pytest.mark.parametrize("pattern", KNOWN.values(), ids=KNOWN)
def test_the_pattern_of_a_known_tokenizer_passes(pattern: str) -> None:
    refuse_exponential_patterns(tokenizer_with(pattern), name="tokenizer.json")


@pytest.mark.parametrize("pattern", HARMLESS.values(), ids=HARMLESS)
def test_a_pattern_that_cannot_give_back_twice_passes(pattern: str) -> None:
    refuse_exponential_patterns(tokenizer_with(pattern), name="tokenizer.json")


@pytest.mark.parametrize("pattern", EXPONENTIAL.values(), ids=EXPONENTIAL)
def test_a_repeat_of_a_repeat_is_named_with_its_place(pattern: str) -> None:
    with pytest.raises(BadBundle) as refused:
        refuse_exponential_patterns(tokenizer_with(pattern), name="tokenizer.json")
    assert "tokenizer.json: pre_tokenizer.pretokenizers[1].pattern.Regex" in str(refused.value)
    assert repr(pattern) in str(refused.value)
    assert "exponential" in str(refused.value)


@pytest.mark.parametrize(("pattern", "found"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_pattern_that_cannot_be_followed_is_refused(pattern: str, found: str) -> None:
    with pytest.raises(BadBundle, match=found):
        refuse_exponential_patterns(tokenizer_with(pattern), name="tokenizer.json")


def test_a_pattern_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadBundle, match=r"pattern\.Regex is int, a text is expected"):
        refuse_exponential_patterns(tokenizer_with(5), name="tokenizer.json")


def test_a_pattern_too_long_to_be_one_is_refused() -> None:
    with pytest.raises(BadBundle, match="at most 16384"):
        refuse_exponential_patterns(tokenizer_with("a" * 20_000), name="tokenizer.json")


def test_patterns_of_the_normalizer_and_the_decoder_are_checked_too() -> None:
    for part in ("normalizer", "decoder", "post_processor"):
        with pytest.raises(BadBundle, match=f"{part}.pattern.Regex"):
            refuse_exponential_patterns({part: {"pattern": {"Regex": "(a+)+"}}}, name="tokenizer.json")


def test_a_tokenizer_nested_100_000_levels_deep_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"pretokenizers": [nested]}
    with pytest.raises(BadBundle, match="nested deeper than 64"):
        refuse_exponential_patterns(nested, name="tokenizer.json")
    # Taken apart by hand: freeing it at once would recurse in some versions of Python.
    while nested:
        nested = nested.pop("pretokenizers")[0]


def test_a_long_hostile_pattern_is_judged_at_once() -> None:
    start = time.perf_counter()
    for pattern in ("[]" * 8_000, "(" * 16_000, "(a" * 5_000 + ")" * 5_000, "a{1," * 4_000, r"\p{" * 5_000):
        with contextlib.suppress(BadBundle):
            refuse_exponential_patterns(tokenizer_with(pattern), name="tokenizer.json")
    assert time.perf_counter() - start < 5


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=r"a()[]{}?*+\^|:<>=!#~,19pgkx'", max_size=40))
def test_no_pattern_raises_anything_but_a_refusal(pattern: str) -> None:
    # Any other error fails the test.
    with contextlib.suppress(BadBundle):
        refuse_exponential_patterns(tokenizer_with(pattern), name="tokenizer.json")
