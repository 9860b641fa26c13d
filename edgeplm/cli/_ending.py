"""How a command that gives a single answer saves time at its start and at its end."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from edgeplm_runtime.engine import Engine


_process_is_ours = False  # it ends with the command
_left: list[Engine] = []  # what the end of the process frees


@contextmanager
def without_collection() -> Iterator[None]:
    """No collection of garbage inside: a start makes many objects, all of them to stay, and would be searched often."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def freed_at_the_end(engine: Engine) -> Iterator[None]:
    """Closes the engine; leaves that to the end of the process where all went well and only memory is at stake.

    Providers other than the CPU write what they compiled, or leave a device in order, when their session is destroyed.
    """
    try:
        yield
    except BaseException:
        engine.close()
        raise
    if _process_is_ours and engine.active.provider == "CPU":
        _left.append(engine)
    else:
        engine.close()


@contextmanager
def process_of_one_command() -> Iterator[None]:
    """Inside, a command may leave its engine to the end of the process, which then comes at once.

    Python's own clearing up takes 35 ms after an answer (docs/benchmarks.md), and has nothing to do then.
    """
    global _process_is_ours
    _process_is_ours = True
    try:
        yield
    except SystemExit as end:
        if _left and not end.code:
            with suppress(OSError, ValueError, AttributeError):  # a stream that is full, closed, or was never there
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
        raise
