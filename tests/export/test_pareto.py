"""The frontier of size, latency and loss, and its picture."""

from __future__ import annotations

from xml.etree import ElementTree

from edgeplm_export.pareto import Point, draw, frontier


def point(name: str, size: int, ms: float, loss: float, *, passed: bool = True) -> Point:
    """A point of these figures."""
    return Point(name=name, size_bytes=size, milliseconds=ms, loss=loss, passed=passed)


POINTS = [
    point("fp32", 100, 10.0, 0.0),
    point("fast", 25, 4.0, 0.01),
    point("faithful", 25, 6.0, 0.001),
    point("beaten", 26, 6.5, 0.02),
    point("small", 15, 11.0, 0.03),
]


def test_what_another_one_beats_in_all_three_is_left_out() -> None:
    assert frontier(POINTS) == ["fp32", "fast", "faithful", "small"]


def test_a_refused_point_beats_nobody() -> None:
    assert "beaten" in frontier([point("fast", 25, 4.0, 0.01, passed=False), POINTS[3]])


def test_figures_within_the_noise_do_not_decide() -> None:
    assert frontier([point("a", 100, 10.0, 0.01), point("b", 100, 10.2, 0.01)]) == ["a", "b"]


def test_the_picture_is_whole_names_everything_and_is_the_same_each_time() -> None:
    hostile = [*POINTS, point("<script>&", 10, 5.0, 0.0)]
    drawn = draw(hostile, frontier(hostile), title="a <model> & more")
    text = " ".join(ElementTree.fromstring(drawn).itertext())
    for one in hostile:
        assert one.name in text
    assert "<script>" not in drawn
    assert drawn == draw(hostile, frontier(hostile), title="a <model> & more")
