"""Which student is taken, and what is said of it, from fixed figures."""

from __future__ import annotations

import re

import pytest

from edgeplm_export.distilling.choose import Limits, NothingFits, choose, on_frontier
from edgeplm_export.distilling.standing import Speed, Standing
from edgeplm_runtime.errors import BadInput


def standing(name: str, quality: float | None, milliseconds: float, megabytes: float) -> Standing:
    return Standing(
        name=name,
        student=name,
        variant="fp32",
        bundle="",
        size_bytes=round(megabytes * 1e6),
        speed=Speed(p50_ms=milliseconds, texts_per_s=1000 / milliseconds),
        metric=None if quality is None else "accuracy",
        quality=quality,
        drop=None if quality is None else 0.9 - quality,
    )


ALL = [
    standing("large", 0.89, 2.0, 80),
    standing("middle", 0.87, 0.5, 20),
    standing("small", 0.80, 0.1, 8),
    standing("worse", 0.79, 0.6, 30),
]
LIMITS = {
    "the best without a limit": (Limits(), "large"),
    "the fastest that loses little": (Limits(max_drop=0.035), "middle"),
    "the best in the time": (Limits(budget_ms=0.7), "middle"),
    "the best of the size": (Limits(max_size_bytes=10_000_000), "small"),
    "the fastest that loses little in the size": (Limits(max_drop=0.2, max_size_bytes=25_000_000), "small"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_choose(name: str) -> None:
    limits, wanted = LIMITS[name]
    taken, why = choose(ALL, limits)
    assert taken.name == wanted
    assert why.startswith(f"{wanted}: the ")
    assert f"accuracy {taken.quality:.3f}" in why


def test_where_none_keeps_the_limits_the_nearest_one_and_its_figures_are_named() -> None:
    words = re.escape("Nearest is large: it takes 2.00 ms, 0.3 are allowed")
    with pytest.raises(NothingFits, match=words):
        choose(ALL, Limits(max_drop=0.02, budget_ms=0.3))


def test_a_drop_that_nothing_measured_cannot_be_limited() -> None:
    with pytest.raises(BadInput, match="give labelled texts with --eval"):
        choose([standing("a", None, 1.0, 1)], Limits(max_drop=0.1))


def test_what_another_one_beats_in_everything_is_not_on_the_frontier() -> None:
    assert on_frontier(ALL) == ["large", "middle", "small"]
