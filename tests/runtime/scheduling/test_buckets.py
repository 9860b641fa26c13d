"""The plan of batches: every input once, within the budget, in an order that wastes little padding."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgeplm_runtime.scheduling.buckets import length_buckets, plan, profiles, window


LENGTHS = st.lists(st.integers(0, 600), max_size=80)


@given(LENGTHS, st.integers(1, 4000))
def test_every_position_comes_once(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget=budget)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, st.integers(1, 4000))
def test_a_batch_with_its_padding_is_within_the_budget_unless_it_is_one_row(lengths: list[int], budget: int) -> None:
    for batch in plan(lengths, budget=budget):
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(LENGTHS, st.integers(1, 4000))
def test_longest_first_and_equal_lengths_in_their_order(lengths: list[int], budget: int) -> None:
    order = [position for batch in plan(lengths, budget=budget) for position in batch]
    assert [(-lengths[i], i) for i in order] == sorted((-length, i) for i, length in enumerate(lengths))


def filled(batch: list[int], lengths: list[int]) -> int:
    return sum(lengths[batch[0]] - lengths[i] for i in batch)


def test_a_window_grows_with_the_budget_and_never_holds_a_whole_stream() -> None:
    assert [window(budget) for budget in (1, 512, 4096, 16384, 10**9)] == [512, 512, 512, 2048, 8192]


@given(LENGTHS, st.integers(1, 4000), st.integers(0, 100))
def test_no_batch_could_have_taken_the_next_row(lengths: list[int], budget: int, padding: int) -> None:
    batches = plan(lengths, budget=budget, padding=padding)
    for batch, following in pairwise(batches):
        full = (len(batch) + 1) * lengths[batch[0]] > budget
        assert full or filled([*batch, following[0]], lengths) > padding


@given(LENGTHS, st.integers(0, 100))
def test_a_batch_is_not_filled_up_with_more_than_the_padding_allowed(lengths: list[int], padding: int) -> None:
    assert all(filled(batch, lengths) <= padding for batch in plan(lengths, padding=padding))


def test_no_inputs_make_no_batch() -> None:
    assert plan([]) == []


@given(st.integers(1, 600))
def test_the_ranges_of_lengths_cover_every_length_once(max_length: int) -> None:
    ranges = length_buckets(max_length)
    covered = [length for first, last in ranges for length in range(first, last + 1)]
    assert covered == list(range(1, max_length + 1))


@given(st.lists(st.integers(1, 512), max_size=80), st.integers(1, 4000))
def test_every_batch_of_a_plan_lies_within_a_profile(lengths: list[int], budget: int) -> None:
    built = profiles(512, budget=budget)
    for batch in plan(lengths, budget=budget):
        shape = (len(batch), max(lengths[i] for i in batch))
        assert any(all(a <= b <= c for a, b, c in zip(p.least, shape, p.most, strict=True)) for p in built), shape
    assert all(least <= best <= most for p in built for least, best, most in zip(p.least, p.best, p.most, strict=True))
