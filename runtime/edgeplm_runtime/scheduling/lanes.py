"""How many graph calls run at once: one that uses every thread, or several that share them.

Callers past that wait, first come, first served: threads that fight for the cores are slower together than one after
the other (docs/scheduling.md).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Lanes:
    """Lets in one caller alone, or up to `count` that share."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._running = 0
        self._alone = False

    @contextmanager
    def enter(self, *, share: bool) -> Iterator[bool]:
        """Waits for its turn; gives whether the cores are shared with others.

        They are not when nobody else runs or waits, unless the caller says that more is to come (`share`).
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or self._alone or self._running >= self.count:
                    self._changed.wait()
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            alone = self.count == 1 or not (share or self._running or self._queue)
            self._running += 1
            self._alone = alone
        try:
            yield not alone
        finally:
            with self._changed:
                self._running -= 1
                self._alone = False
                self._changed.notify_all()
