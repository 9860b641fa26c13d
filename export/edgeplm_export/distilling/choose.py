"""Which student to take: the frontier, and the one that the caller's limits leave, with the reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeplm_export.distilling.standing import Standing
from edgeplm_export.pareto import Point, frontier
from edgeplm_runtime.errors import BadInput, GateFailed


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`budget_ms`: p50 of one sentence; `max_size_bytes` of the variant; `max_drop` of the metric."""

    budget_ms: float | None = None
    max_size_bytes: int | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 < value < float("inf") and not (name == "max_drop" and value == 0):
                raise BadInput(f"{name} is {value}; give a number above 0.")
        if self.max_drop is not None and self.max_drop > 1:
            raise BadInput(f"max_drop is {self.max_drop}; give a share from 0 to 1, such as 0.02.")

    @property
    def any(self) -> bool:
        """Whether something was asked for."""
        return any(value is not None for value in vars(self).values())


def point(standing: Standing) -> Point:
    """A standing as the frontier weighs it: latency is the p50 of a sentence, loss what is missing from the best."""
    return Point(
        name=standing.name,
        size_bytes=standing.size_bytes,
        milliseconds=standing.speed.p50_ms,
        loss=max(0.0, 1.0 - standing.quality) if standing.quality is not None else 0.0,
        quality=standing.quality,
    )


def on_frontier(standings: Sequence[Standing]) -> list[str]:
    """The names that no other one beats in quality, latency and size."""
    return frontier([point(one) for one in standings])


def choose(standings: Sequence[Standing], limits: Limits) -> tuple[Standing, str]:
    """The student to take, and why. Raises GateFailed when none keeps the limits; BadInput for a drop not measured.

    With a limit on the drop: the fastest one that keeps it. With a limit on time or size alone: the best one that keeps
    it. The teacher itself is not among `standings`.
    """
    if limits.max_drop is not None and any(one.drop is None for one in standings):
        raise BadInput("max_drop was asked for, but nothing measures a drop; give labelled texts with --eval.")
    left = [one for one in standings if not _broken(one, limits)]
    if not left:
        nearest = min(standings, key=lambda one: (len(_broken(one, limits)), one.drop or 0.0))
        raise NothingFits(
            f"no student keeps the limits. Nearest is {nearest.name}: {'; '.join(_broken(nearest, limits))}. Nothing "
            "was written; loosen a limit, or try other students.",
        )
    if limits.max_drop is not None:
        taken = min(left, key=lambda one: one.speed.p50_ms)
        return taken, f"{taken.name}: the fastest of {len(left)} that keep {_words(limits)} ({_figures(taken)})"
    taken = max(left, key=lambda one: (one.quality or 0.0, -one.speed.p50_ms))
    among = f"the best of {len(left)} that keep {_words(limits)}" if limits.any else f"the best of {len(left)}"
    return taken, f"{taken.name}: {among} ({_figures(taken)})"


class NothingFits(GateFailed):
    """No student of the ladder keeps the limits; nothing was written."""


def _broken(one: Standing, limits: Limits) -> list[str]:
    found = []
    if limits.max_drop is not None and one.drop is not None and one.drop > limits.max_drop:
        found.append(f"it loses {one.drop:.3f} of {one.metric}, {limits.max_drop:g} may be lost")
    if limits.budget_ms is not None and one.speed.p50_ms > limits.budget_ms:
        found.append(f"it takes {one.speed.p50_ms:.2f} ms, {limits.budget_ms:g} are allowed")
    if limits.max_size_bytes is not None and one.size_bytes > limits.max_size_bytes:
        found.append(f"it has {one.size_bytes / 1e6:.1f} MB, {limits.max_size_bytes / 1e6:g} are allowed")
    return found


def _words(limits: Limits) -> str:
    parts = []
    if limits.max_drop is not None:
        parts.append(f"a drop of {limits.max_drop:g} at most")
    if limits.budget_ms is not None:
        parts.append(f"{limits.budget_ms:g} ms")
    if limits.max_size_bytes is not None:
        parts.append(f"{limits.max_size_bytes / 1e6:g} MB")
    return " and ".join(parts)


def _figures(one: Standing) -> str:
    quality = "" if one.quality is None else f"{one.metric} {one.quality:.3f}, "
    return f"{quality}{one.speed.p50_ms:.2f} ms, {one.size_bytes / 1e6:.1f} MB"
