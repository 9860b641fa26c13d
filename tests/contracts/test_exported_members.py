"""`edgeplm.__all__` is honest."""

from __future__ import annotations

import inspect

import pytest

import edgeplm
import edgeplm_runtime.errors


def test_the_names_are_sorted_and_unique() -> None:
    assert edgeplm.__all__ == sorted(set(edgeplm.__all__))
    assert dir(edgeplm) == edgeplm.__all__


@pytest.mark.parametrize("name", edgeplm.__all__)
def test_every_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(edgeplm, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(edgeplm_runtime.errors).items()
        if inspect.isclass(value) and issubclass(value, edgeplm_runtime.errors.EdgePLMError)
    }
    assert errors <= set(edgeplm.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = edgeplm.lod
