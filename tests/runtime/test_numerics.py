"""The small functions on arrays: exact, without overflow, and never silently wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeplm_runtime.errors import BadInput, BadInputType
from edgeplm_runtime.numerics import Floats, cosine, integers, pad, sigmoid, softmax


LOGITS = arrays(
    np.float32, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=st.floats(-(2.0**100), 2.0**100, width=32)
)


@given(LOGITS)
def test_softmax_is_a_probability_for_any_logits(logits: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = softmax(logits)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    # Logits closer than the rounding of exp tie, so the best index itself may be another one.
    best = np.take_along_axis(found, logits.argmax(axis=-1, keepdims=True), axis=-1)
    np.testing.assert_array_equal(best[..., 0], found.max(axis=-1))


@given(LOGITS)
def test_sigmoid_never_overflows(logits: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sigmoid(logits)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    small = logits[np.abs(logits) < 30].astype(np.float64)
    np.testing.assert_allclose(found[np.abs(logits) < 30], 1 / (1 + np.exp(-small)), atol=1e-6)


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=5), st.booleans())
def test_padding_keeps_every_row_and_fills_the_rest(rows: list[list[int]], left: bool) -> None:
    found = pad(rows, 0, left=left)
    assert found.dtype == np.int64
    assert found.shape == (len(rows), max(map(len, rows), default=0))
    for got, row in zip(found.tolist(), rows, strict=True):
        rest = [0] * (len(got) - len(row))
        assert got == (rest + row if left else row + rest)


def test_padding_to_a_length_that_is_given() -> None:
    assert pad([[1]], 7, left=False, length=3).tolist() == [[1, 7, 7]]


def test_cosine_of_rows() -> None:
    a = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [1e-30, 0]], np.float32)
    b = np.array([[0, 2], [-2, -2], [0, 0], [1, 0], [1e30, 0]], np.float32)
    np.testing.assert_allclose(cosine(a, b), [0, -1, 1, 0, 1], atol=1e-12)


@settings(max_examples=50)
@given(arrays(np.float32, (3, 4), elements=st.floats(-(2.0**33), 2.0**33, width=32)))
def test_every_row_has_the_cosine_1_with_itself(rows: Floats) -> None:
    np.testing.assert_allclose(cosine(rows, rows), 1, atol=1e-9)


@pytest.mark.parametrize("kind", ["int8", "uint16", ">i4", "int64", "bool"])
@given(data=st.data())
def test_integers_of_any_kind_keep_their_values(kind: str, data: st.DataObject) -> None:
    values = data.draw(arrays(np.dtype(kind), (2, 3)))
    found = integers("x", values.T)
    assert found.dtype == np.int64
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, values.T)


def test_integers_keep_an_array_without_axes() -> None:
    assert integers("x", 5).shape == ()


@pytest.mark.parametrize("value", [[0.5], ["1"], [None], [1j], [float("inf")], [b"a"], [[1], [2.5]]])
def test_what_is_no_integer_is_a_wrong_type(value: object) -> None:
    with pytest.raises(BadInputType, match=r"^x "):
        integers("x", value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [[[1], [1, 2]], [1e19], np.array([2**64 - 1], np.uint64)])
def test_integers_that_do_not_fit_are_refused(value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match=r"^x "):
            integers("x", value)  # type: ignore[arg-type]
