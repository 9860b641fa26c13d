"""Which sites to put back to float32 when a gate says no: the fewest of the most harmful ones that make it hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence


# With more than this share of the sites in float32 little of the gain is left: the scheme does not fit the model.
MOST = 0.5


def fewest(worst_first: Sequence[str], holds: Callable[[Sequence[str]], bool]) -> list[str] | None:
    """The shortest start of the list for which `holds`, or None when even half of the list is not enough.

    Asks O(log n) times: 1, 2, 4, … until it holds, then halves the gap. That more sites in float32 never fail where
    fewer hold is assumed; what is given back did hold.
    """
    most = max(1, int(len(worst_first) * MOST)) if worst_first else 0
    failed, size = 0, 1
    while size <= most and not holds(worst_first[:size]):
        failed = size
        if size == most:
            return None
        size = min(size * 2, most)
    if size > most:
        return None
    while size - failed > 1:
        middle = (size + failed) // 2
        if holds(worst_first[:middle]):
            size = middle
        else:
            failed = middle
    return list(worst_first[:size])
