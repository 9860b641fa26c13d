"""How many graph calls run at once: one that uses every thread, or several that share them.

Callers past that wait, first come, first served: threads that fight for the cores are slower together than one after
the other (docs/scheduling.md).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


# After a call with every thread, those beside the caller's wait actively for a moment (decisions/0011), and take a core
# from the lanes: as long as callers have met within this time, nobody gets every thread (docs/scheduling.md).
CALM_SECONDS = 0.03


class Lanes:
    """Lets in one caller alone, or up to `count` that share."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._running = 0
        self._alone = False
        self._met = -CALM_SECONDS  # when callers last met, in seconds of the monotonic clock

    @contextmanager
    def enter(self, *, share: bool) -> Iterator[bool]:
        """Waits for its turn; gives whether the cores are shared with others.

        They are not when nobody else runs or waits, or did a moment ago, unless the caller says that more is to come
        (`share`).
        """
        ticket = object()
        with self._changed:
            if self._running or self._queue:
                self._met = time.monotonic()
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or self._alone or self._running >= self.count:
                    self._changed.wait()
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            calm = time.monotonic() - self._met >= CALM_SECONDS
            alone = self.count == 1 or (calm and not (share or self._running or self._queue))
            self._running += 1
            self._alone = alone
        try:
            yield not alone
        finally:
            with self._changed:
                self._running -= 1
                self._alone = False
                self._changed.notify_all()
