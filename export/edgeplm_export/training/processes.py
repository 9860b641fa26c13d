"""The processes of one run, as `accelerate launch` or torchrun start them; without either there is one.

They train together. Everything else is done by the first one, and found by the others in the folder that all see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta


# How long the others wait for the first: a teacher may answer a million texts meanwhile.
PATIENCE = timedelta(days=2)


def count() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """Which one this is; the first is 0."""
    return int(os.environ.get("RANK") or 0)


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process does what stands inside; then the others do the same, and find it done."""
    if count() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE).main_process_first():
        yield
