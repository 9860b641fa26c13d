"""A float32 graph to quantize, and batches to calibrate it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeplm_export.quantize import Feeds
from edgeplm_runtime.bundle.reader import open_bundle


@pytest.fixture(scope="session")
def graph(embedder_bundle: Path) -> Path:
    """The toy embedder's float32 graph, as the bundle stores it."""
    return embedder_bundle / open_bundle(embedder_bundle).variant("fp32").files[0]


@pytest.fixture(scope="session")
def batches() -> Callable[[], Iterator[Feeds]]:
    """Eight batches of random ids, some of their rows padded."""

    def start() -> Iterator[Feeds]:
        random = np.random.default_rng(0)
        for _ in range(8):
            ids = random.integers(5, 200, size=(4, 12))
            mask = np.ones_like(ids)
            mask[1:, 8:] = 0
            yield {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": ids * 0}

    return start
