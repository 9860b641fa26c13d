"""Checks of single arguments, with the words of a refusal."""

from __future__ import annotations

import threading

from edgeplm_runtime.errors import BadInput


def check_whole(name: str, value: object, most: int) -> None:
    """A whole number from 1 to `most`, or BadInput."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise BadInput(f"{name} is {value!r}; give a whole number from 1 to {most}, or leave it out.")


def is_duration(value: object, *, per_second: float = 1.0) -> bool:
    """A number from 0 on that a timer can wait for; neither infinite nor nan."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= threading.TIMEOUT_MAX * per_second  # type: ignore[operator]
