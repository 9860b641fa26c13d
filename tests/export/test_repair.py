"""The fewest sites that make a gate hold, in few questions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeplm_export.repair import fewest


NAMES = [f"site {i}" for i in range(24)]


@pytest.mark.parametrize("needed", range(1, 13))
def test_the_shortest_start_of_the_list_is_found(needed: int) -> None:
    asked: list[int] = []

    def holds(names: Sequence[str]) -> bool:
        asked.append(len(names))
        return len(names) >= needed

    assert fewest(NAMES, holds) == NAMES[:needed]
    assert len(asked) <= 8
    assert max(asked) <= 12


@pytest.mark.parametrize("needed", [13, 24, 99])
def test_more_than_half_of_the_sites_is_no_repair(needed: int) -> None:
    assert fewest(NAMES, lambda names: len(names) >= needed) is None


def test_a_graph_without_sites_cannot_be_repaired() -> None:
    assert fewest([], lambda names: True) is None


def test_a_single_site_may_be_put_back() -> None:
    assert fewest(["only"], lambda names: True) == ["only"]
