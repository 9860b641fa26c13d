"""A bundle that is quantized is asked the very questions that export and `verify --reference` ask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.parity.expectation import Expectation, from_torch, from_variant
from edgeplm_export.tasks import load_model
from edgeplm_runtime.bundle.reader import open_bundle


@pytest.fixture(params=["classifier", "embedder"])
def both(request: pytest.FixtureRequest) -> tuple[Expectation, Expectation]:
    """What PyTorch answers for a checkpoint, and what its bundle's fp32 variant answers."""
    checkpoint: Path = request.getfixturevalue(f"toy_{request.param}")
    bundle: Path = request.getfixturevalue(f"{request.param}_bundle")
    torch = from_torch(load_model(open_checkpoint(str(checkpoint), revision=None, trust_remote_code=False), None))
    return torch, from_variant(open_bundle(bundle), "fp32", torch.outputs)


def test_the_questions_are_the_same(both: tuple[Expectation, Expectation]) -> None:
    torch, variant = both
    assert variant.probes == torch.probes
    assert variant.plain == torch.plain
    assert set(variant.answered) == set(torch.answered)


def test_fp32_expects_what_pytorch_expects(both: tuple[Expectation, Expectation]) -> None:
    torch, variant = both
    for got, want in zip(variant.values, torch.values, strict=True):
        assert set(got) == set(want)
        for name in want:
            np.testing.assert_allclose(got[name], want[name], atol=1e-4)
    for cell in torch.probes.texts:
        for a, b in zip(variant.tokens(cell), torch.tokens(cell), strict=True):
            assert (a.ids, a.mask, a.offsets, a.truncated) == (b.ids, b.mask, b.offsets, b.truncated)
