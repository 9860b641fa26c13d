"""Work in threads that end with it: a step ahead of the caller, or several steps side by side.

Pure: knows neither texts nor graphs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, Self, TypeVar


if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


Given = TypeVar("Given")
Made = TypeVar("Made")


class Beside(Generic[Made]):
    """One step of work in a thread, from the moment at which it is told to begin.

    A context manager: the thread has ended when it is left.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        """`make` gives the result, or raises what result() then raises."""
        self._make = make
        self._thread: threading.Thread | None = None
        self._made: list[Made] = []
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Begin now; the second time this does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="edgeplm-beside")
            self._thread.start()

    def result(self) -> Made:
        """What was made. Waits for it."""
        self.begin()
        self._end()
        if self._error is not None:
            raise self._error
        return self._made[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _work(self) -> None:
        try:
            self._made.append(self._make())
        except BaseException as error:  # also a panic of a library, which is no Exception
            self._error = error

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.join()


def ahead(make: Callable[[Given], Made], source: Iterable[Given]) -> Iterator[Made]:
    """`make` of each item, in order; holds two at once.

    `source` is read in the caller's thread, one item ahead, since what it reads from (a terminal, a database) may
    belong to that thread. An error, of the source or of `make`, comes when its item's turn has come. The thread starts
    with the second item, and has ended when the iterator is exhausted or closed.
    """
    items = iter(source)
    for first in items:
        made = make(first)
        break
    else:
        return
    pool: ThreadPoolExecutor | None = None
    try:
        while True:
            error: Exception | None = None
            try:
                following = next(items)
            except StopIteration:
                break
            except Exception as problem:
                error = problem
            else:
                pool = pool or _threads(1, "edgeplm-ahead")
                future = pool.submit(make, following)
            yield made
            if error is not None:
                raise error
            made = future.result()
    finally:
        if pool is not None:
            pool.shutdown()
    yield made


def side_by_side(work: Callable[[Given], None], items: Iterable[Given], *, threads: int) -> None:
    """`work` on each item, `threads` at once, begun in order; raises the first error and begins nothing after it."""
    pool = _threads(threads, "edgeplm-lane")
    try:
        for future in [pool.submit(work, item) for item in items]:
            future.result()
    finally:  # also when the caller is interrupted
        pool.shutdown(cancel_futures=True)


def _threads(count: int, name: str) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # here: its import is a tenth of a start for one text

    return ThreadPoolExecutor(count, thread_name_prefix=name)
