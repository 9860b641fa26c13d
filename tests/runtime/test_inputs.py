"""What a caller may give: each input and option works as documented, or the error names it and its place.

A number in a comment is that of the fault in our list of faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeplm_runtime.engine import Engine, load
from edgeplm_runtime.errors import BadInput, BadInputType
from edgeplm_runtime.scheduling.buckets import STREAM_WINDOW


IDS = [[2, 10, 11, 3], [2, 12, 3, 0]]
MASK = [[1, 1, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize("text", ["", " ", "\t\n\u3000", "\0"], ids=["nothing", "a blank", "white space", "a NUL"])
def test_an_empty_text_has_a_defined_answer(engine: Engine, embedder: Engine, text: str) -> None:  # 60, 61
    assert engine(text) == engine([text])[0]
    assert 0.5 <= engine(text)["score"] <= 1
    vector = embedder([text])
    assert vector.shape == (1, 32)
    assert np.isfinite(vector).all()


WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (None, r"found NoneType"),  # 62
    "bytes": (b"good", "found bytes"),
    "a number": (5, "found int"),
    "a set, which has no order": ({"a", "b"}, "a set, which has no order"),
    "an array without axes": (np.array("good"), "found ndarray"),
    "None in a list": (["a", None], r"input 1 is NoneType; expected a string or"),
    "bytes in a list": (["a", "b", b"c"], "input 2 is bytes"),
    "a number in a list": ([1], "input 0 is int"),
    "a list in a list": ([["a", "b"]], "input 0 is list"),
    "a pair as a tuple": ([("a", "b")], "input 0 is tuple"),
    "a record without a text": ([{"text_pair": "a"}], "input 0: text is NoneType"),
    "a record with a number": ([{"text": 4}], "input 0: text is int"),
    "a second text that is None": ({"text": "a", "text_pair": None}, "text_pair is None; leave the key out"),
    "a second text that is bytes": ({"text": "a", "text_pair": b"b"}, "text_pair is bytes"),
}


@pytest.mark.parametrize(("given", "found"), WRONG.values(), ids=WRONG)
def test_a_wrong_type_is_named_with_its_place(engine: Engine, given: Any, found: str) -> None:  # 62
    with pytest.raises(BadInputType, match=found) as refused:
        engine(given)
    assert isinstance(refused.value, TypeError)
    if isinstance(given, list):
        with pytest.raises(BadInputType, match=found):
            list(engine.stream(given))
        with pytest.raises(BadInputType, match=found):
            engine.tokenize(given)


def test_an_unknown_key_of_a_record_is_named(engine: Engine) -> None:
    with pytest.raises(BadInput, match=r"input 0 has the unknown key\(s\) \['txt'\]"):
        engine([{"txt": "a"}])


def test_one_input_gives_one_answer_and_a_list_a_list(engine: Engine, embedder: Engine) -> None:  # 67
    assert isinstance(engine("a"), dict)
    assert isinstance(engine({"text": "a", "text_pair": "b"}), dict)
    assert isinstance(engine(["a"]), list)
    assert engine([]) == []
    assert engine(iter([])) == []
    assert list(engine.stream([])) == []
    assert engine([], details=True) == []
    assert embedder([]).shape == (0, 32)
    assert embedder([]).dtype == np.float32
    assert embedder("a").shape == (32,)
    assert engine(text for text in ("a", "b")) == engine(("a", "b")) == engine(np.array(["a", "b"]))


def test_order_is_kept_whatever_the_lengths(engine: Engine) -> None:
    texts = [("film " * (i * 37 % 60)).strip() for i in range(200)]
    alone = [engine(text)["score"] for text in texts]
    assert [a["score"] for a in engine(texts)] == pytest.approx(alone, abs=1e-5)
    assert [a["score"] for a in engine.stream(texts)] == pytest.approx(alone, abs=1e-5)
    assert [d.tokens for d in engine(texts, details=True)] == [len(e.ids) for e in engine.tokenize(texts)]


@pytest.mark.parametrize(
    ("pairs", "row", "found"),
    [
        ("required", "alone", r"input 0 is a single text; this model reads pairs"),
        ("refused", {"text": "a", "text_pair": "b"}, "input 0 is a pair of texts; this model reads one text"),
    ],
)
def test_pairs_are_required_or_refused_as_the_manifest_says(  # 73
    bundle: Path, edit_manifest: Callable[..., None], pairs: str, row: Any, found: str
) -> None:
    edit_manifest(bundle, lambda document: document["text"].update(pairs=pairs))
    with load(bundle, "fp32") as engine, pytest.raises(BadInput, match=found):
        engine([row])


def test_an_empty_second_text_is_still_a_pair(engine: Engine) -> None:  # 73
    assert engine.tokenize([{"text": "a", "text_pair": ""}])[0].ids != engine.tokenize(["a"])[0].ids


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt one": ({"top_n": 2}, r"unknown option for text-classification 'top_n'\. Did you mean 'top_k'"),
    "one of transformers": ({"padding": True}, "Known: function_to_apply, prompt, prompt_name, top_k, truncation"),
    "no labels": ({"top_k": 0}, "top_k is 0; give a number of labels from 1 on"),
    "less than no labels": ({"top_k": -1}, "top_k is -1"),
    "half a label": ({"top_k": 1.5}, r"top_k is 1\.5"),
    "a truth value as a number": ({"top_k": True}, "top_k is True"),
    "a function that is not there": ({"function_to_apply": "softmin"}, "Did you mean 'softmax'"),
    "a function that is no name": ({"function_to_apply": 3}, "unknown function_to_apply 3"),
    "a text as a truth value": ({"truncation": "longest_first"}, "truncation must be True or False"),
    "a prompt that is not there": ({"prompt_name": "query"}, "unknown prompt_name 'query'. There is none here"),
    "a prompt that is no name": ({"prompt_name": ["query"]}, "unknown prompt_name"),
    "a prompt that is no text": ({"prompt": 4}, "prompt is int; expected a text"),
}


@pytest.mark.parametrize(("options", "found"), OPTIONS.values(), ids=OPTIONS)
def test_a_wrong_option_is_named_before_any_input_is_read(engine: Engine, options: dict[str, Any], found: str) -> None:
    def inputs() -> Iterator[str]:
        raise AssertionError("an input was read")
        yield ""

    with pytest.raises(BadInput, match=found):
        engine(["a"], **options)
    with pytest.raises(BadInput, match=found):
        engine([], **options)
    with pytest.raises(BadInput, match=found):
        engine.stream(inputs(), **options)


def test_prompts_go_before_the_text(bundle: Path, edit_manifest: Callable[..., None]) -> None:
    prompts = {"prompts": {"query": "this film ", "none": ""}, "default_prompt": "query"}
    edit_manifest(bundle, lambda document: document["text"].update(prompts))
    with load(bundle, "fp32") as engine:
        prompted = engine.tokenize(["good"])[0].ids
        assert prompted == engine.tokenize(["this film good"], prompt_name=None)[0].ids
        assert prompted == engine.tokenize(["good"], prompt="this film ")[0].ids
        assert engine.tokenize(["good"], prompt_name="none")[0].ids == engine.tokenize(["good"], prompt="")[0].ids
        with pytest.raises(BadInput, match=r"unknown prompt_name 'quer'\. Did you mean 'query'"):
            engine("good", prompt_name="quer")


def test_a_stream_reads_no_more_than_a_window_ahead(engine: Engine) -> None:
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "film"

    answers = engine.stream(source())
    assert read == 0
    next(answers)
    assert read == 2 * STREAM_WINDOW  # the next window is tokenized meanwhile
    for _ in range(STREAM_WINDOW):
        next(answers)
    assert read == 3 * STREAM_WINDOW


def test_a_stream_names_the_place_in_the_whole_stream(engine: Engine) -> None:
    texts: list[Any] = ["film"] * (STREAM_WINDOW + 7)
    texts[STREAM_WINDOW + 3] = None
    answers = engine.stream(texts)
    assert sum(1 for _ in zip(range(STREAM_WINDOW), answers, strict=False)) == STREAM_WINDOW
    with pytest.raises(BadInputType, match=f"input {STREAM_WINDOW + 3} is NoneType"):
        next(answers)


@pytest.mark.parametrize("single", ["text", {"text": "a"}, b"bytes", 7, None])
def test_a_stream_of_a_single_input_is_refused_at_once(engine: Engine, single: Any) -> None:
    with pytest.raises(BadInputType):
        engine.stream(single)


# Token ids


def expected(engine: Engine) -> Any:
    return engine.forward(IDS, MASK)["logits"]


ARRAYS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "int32": lambda a: a.astype(np.int32),  # 71
    "uint8": lambda a: a.astype(np.uint8),
    "whole floats": lambda a: a.astype(np.float32),
    "big-endian": lambda a: a.astype(">i4"),  # 72
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "column order": np.asfortranarray,
    "a negative stride": lambda a: a[::-1][::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), np.int64).reshape(a.shape),
    "lists": lambda a: a.tolist(),
}


@pytest.mark.parametrize("form", ARRAYS.values(), ids=ARRAYS)
def test_ids_of_any_integer_kind_and_layout_are_read(  # 71, 72
    engine: Engine, form: Callable[[np.ndarray[Any, Any]], Any]
) -> None:
    found = engine.forward(form(np.array(IDS)), form(np.array(MASK)))["logits"]
    np.testing.assert_array_equal(found, expected(engine))


def test_a_boolean_mask_is_read(engine: Engine) -> None:  # 71
    np.testing.assert_array_equal(engine.forward(IDS, np.array(MASK, bool))["logits"], expected(engine))


BAD_IDS: dict[str, tuple[Any, str]] = {
    "-1": ([[2, -1]], r"input_ids holds -1; token ids of this model go from 0 to"),  # 70
    "an id past the vocabulary": ([[5000, 3]], "input_ids holds 5000; token ids"),  # 70
    "more than 63 bits": (np.array([[2**63]], np.uint64), "input_ids holds 9223372036854775808"),
    "more than 64 bits": ([[2**70]], "the type object"),
    "a float beyond all integers": ([[1e30]], r"input_ids holds 1e\+30"),
    "fractions": ([[2.5]], "input_ids holds fractions"),  # 71
    "not a number": ([[float("nan")]], "not finite"),
    "text": ([["a"]], "input_ids has the type"),
    "None": ([[None]], "input_ids has the type object"),
    "complex numbers": ([[1j]], "input_ids has the type complex"),
    "a scalar": (np.int64(3), r"the shape \(\); expected \(rows, tokens\)"),  # 72
    "one axis": ([2, 3], r"the shape \(2,\)"),
    "three axes": ([[[2]]], r"the shape \(1, 1, 1\)"),
    "no rows": (np.zeros((0, 4), int), "there is nothing to run"),
    "no tokens": ([[]], "there is nothing to run"),
    "rows of two lengths": ([[2], [2, 3]], "rows of different lengths"),
    "more tokens than the model takes": ([[5] * 65], "has 65 tokens; the model takes 64 at most"),  # 66
}


@pytest.mark.parametrize(("ids", "found"), BAD_IDS.values(), ids=BAD_IDS)
def test_wrong_ids_are_refused(engine: Engine, ids: Any, found: str) -> None:
    with pytest.raises(BadInput, match=found):
        engine.forward(ids)


def test_wrong_masks_type_ids_and_outputs_are_refused(engine: Engine) -> None:
    with pytest.raises(BadInput, match=r"attention_mask has the shape \(1, 4\), input_ids \(2, 4\)"):
        engine.forward(IDS, MASK[:1])
    with pytest.raises(BadInput, match="attention_mask may hold only 0 and 1"):
        engine.forward(IDS, [[2] * 4] * 2)
    with pytest.raises(BadInput, match="token_type_ids holds -1; none may be negative"):
        engine.forward(IDS, MASK, [[0, -1, 0, 0]] * 2)
    with pytest.raises(BadInput, match="failed with these token_type_ids, 0 to 7; most models know 0 and 1 only"):
        engine.forward(IDS, MASK, [[0, 7, 0, 0]] * 2)
    with pytest.raises(BadInput, match=r"unknown output 'logit'\. Did you mean 'logits'"):
        engine.forward(IDS, outputs=["logit"])


def test_a_row_of_padding_alone_is_not_a_number_nowhere(engine: Engine, embedder: Engine) -> None:  # 69
    for loaded, outputs in ((engine, ["logits"]), (embedder, ["sentence_embedding", "token_embeddings"])):
        mask = [MASK[0], [0, 0, 0, 0]]
        found = loaded.forward(IDS, mask, outputs=outputs)
        for name in outputs:
            assert np.isfinite(found[name]).all()
            alone = loaded.forward(IDS[:1], MASK[:1], outputs=outputs)[name]
            np.testing.assert_allclose(found[name][:1], alone, atol=1e-5)


def test_a_long_list_is_tokenized_by_windows_and_refused_before_anything_runs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = engine.tokenizer.encode

    def noted(items: Any, **options: Any) -> Any:
        sizes.append(len(items))
        return encode(items, **options)

    monkeypatch.setattr(engine.tokenizer, "encode", noted)
    texts: list[Any] = ["film"] * (2 * STREAM_WINDOW + 3)
    assert len(engine(texts)) == len(texts)
    assert sizes == [STREAM_WINDOW, STREAM_WINDOW, 3]
    with pytest.raises(BadInputType, match=f"input {len(texts)} is NoneType"):
        engine([*texts, None])
    assert len(sizes) == 3
