"""Work in threads that end with it: a step ahead of the caller, or several steps side by side.

Pure: knows neither texts nor graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar


Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(make: Callable[[Given], Made], source: Iterable[Given]) -> Iterator[Made]:
    """`make` of each item, in order; holds two at once.

    `source` is read in the caller's thread, one item ahead, since what it reads from (a terminal, a database) may
    belong to that thread. An error, of the source or of `make`, comes when its item's turn has come. The thread starts
    with the second item, and has ended when the iterator is exhausted or closed.
    """
    from concurrent.futures import ThreadPoolExecutor  # here: a start for a few texts need not load it

    items = iter(source)
    for first in items:
        made = make(first)
        break
    else:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="edgeplm-ahead") as pool:
        while True:
            error: Exception | None = None
            try:
                following = pool.submit(make, next(items))
            except StopIteration:
                break
            except Exception as problem:
                error = problem
            yield made
            if error is not None:
                raise error
            made = following.result()
    yield made


def side_by_side(work: Callable[[Given], None], items: Iterable[Given], *, threads: int) -> None:
    """`work` on each item, `threads` at once, begun in order; raises the first error and begins nothing after it."""
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait  # here: as above

    with ThreadPoolExecutor(threads, thread_name_prefix="edgeplm-lane") as pool:
        try:
            futures = [pool.submit(work, item) for item in items]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:  # also when the caller is interrupted
            pool.shutdown(wait=False, cancel_futures=True)
    for future in futures:
        if not future.cancelled():
            future.result()
