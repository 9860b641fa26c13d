"""Many callers, few graph calls: what waits becomes batches of similar length under a budget of tokens.

The batcher's threads, one for each graph call that may run at once, take batch after batch. What is waiting when a
batch ends goes into the next one, so that batches grow by themselves when there is much to do.

Knows nothing of texts, graphs or tasks: `prepare` makes a request of an input, in the caller's thread, and `run`
answers a list of requests.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Any, Protocol, Self

from edgeplm_runtime.arguments import check_whole, is_duration
from edgeplm_runtime.errors import BadInput, DeadlineExceeded, EngineClosed, Overloaded, unknown
from edgeplm_runtime.providers import CALL_TOKENS
from edgeplm_runtime.scheduling.buckets import plan


WHEN_FULL = ("wait", "refuse")
MOST_WAITING = 2**31
# Requests that are planned at a time, oldest first: enough to find neighbours in length, and sorting them takes less
# than a tenth of the shortest graph call.
PLANNED = 128
ADMITTING_THREADS = 4  # they tokenize what asyncio's callers ask, and wait for room in their place
CLOSED = "this batcher was closed. Make another one with engine.batcher()."


class Request(Protocol):
    """What `prepare` makes of an input."""

    @property
    def length(self) -> int:
        """In tokens."""
        ...


Prepare = Callable[..., Request]
Run = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How requests wait. `max_delay_ms`: how long one may wait for others to fill its batch while nothing runs.

    `max_waiting` requests wait at once; one more waits for room, or is refused with Overloaded: `when_full` is "wait"
    or "refuse". `token_budget`: rows × longest of a batch; a graph call is worth `call_tokens` of padding. `threads`
    batches run at once. Raises BadInput.
    """

    max_delay_ms: float
    max_waiting: int
    when_full: str
    token_budget: int
    threads: int
    call_tokens: int = CALL_TOKENS

    def __post_init__(self) -> None:
        if not is_duration(self.max_delay_ms, per_second=1e3):
            raise BadInput(f"max_delay_ms is {self.max_delay_ms!r}; give milliseconds from 0 on.")
        check_whole("max_waiting", self.max_waiting, MOST_WAITING)
        if self.when_full not in WHEN_FULL:
            raise unknown("when_full", self.when_full, WHEN_FULL)


class Batcher:
    """Takes single inputs from many threads and asyncio tasks, and answers them in batches. Made by engine.batcher().

    Every request that was taken is answered, or fails with an error of its own. Picklable with its engine; a forked
    child has its own, empty queue. Also a context manager.
    """

    def __init__(self, prepare: Prepare, run: Run, policy: Policy) -> None:
        """`prepare(input, **options)` makes a request, or raises for a bad input; `run` answers a list of requests."""
        self._prepare, self._run, self._policy = prepare, run, policy
        self._lock = threading.Lock()
        self._start()

    def __call__(self, given: Any, *, deadline_ms: float | None = None, **options: Any) -> Any:
        """The answer for one input; blocks until it is there. Raises as submit() and its Future do."""
        until = _deadline(deadline_ms)
        future = self._submit(given, until, deadline_ms, options)
        try:
            return future.result(None if until == inf else max(0.0, until - time.monotonic()))
        except DeadlineExceeded:
            raise
        except TimeoutError:
            future.cancel()
            raise _late(deadline_ms) from None

    def submit(self, given: Any, *, deadline_ms: float | None = None, **options: Any) -> Future[Any]:
        """The answer for one input, as a Future; cancelling it before its batch has started leaves it out.

        `deadline_ms` counts from this call: past it the Future fails with DeadlineExceeded, at the latest when the
        batch that is at work ends. Further options as for the engine. Blocks while the queue is full, or raises
        Overloaded then. Raises BadInput, DeadlineExceeded (while it waited for room), EngineClosed.
        """
        return self._submit(given, _deadline(deadline_ms), deadline_ms, options)

    async def ask(self, given: Any, *, deadline_ms: float | None = None, **options: Any) -> Any:
        """The answer for one input, for asyncio: the loop runs on; a cancelled task's input is left out.

        Raises as submit() and its Future do.
        """
        until = _deadline(deadline_ms)
        admitted = self._alive().admit(self._submit, given, until, deadline_ms, options)
        try:
            async with asyncio.timeout(None if until == inf else max(0.0, until - time.monotonic())):
                try:
                    future = await asyncio.wrap_future(admitted)
                except asyncio.CancelledError:
                    admitted.add_done_callback(_cancel_what_it_made)
                    raise
                return await asyncio.wrap_future(future)
        except DeadlineExceeded:
            raise
        except TimeoutError:
            raise _late(deadline_ms) from None

    def close(self) -> None:
        """Answer what waits, refuse what comes from now on with EngineClosed, and end the threads."""
        _end(self._alive(), self._threads, self._pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Batcher], tuple[Prepare, Run, Policy]]:
        return Batcher, (self._prepare, self._run, self._policy)

    def _start(self) -> None:
        self._queue = _Queue(self._run, self._policy)
        # Daemons, and without a reference to this object: a batcher that nobody holds any more ends, and one that
        # nobody closed ends with the program.
        self._threads = [
            threading.Thread(target=self._queue.work, name="edgeplm-batcher", daemon=True)
            for _ in range(self._policy.threads)
        ]
        for thread in self._threads:
            thread.start()
        weakref.finalize(self, _end, self._queue, self._threads, os.getpid())
        self._pid = os.getpid()  # last: from now on other threads of this process use the queue

    def _alive(self) -> _Queue:
        """The queue of this process; a new one after a fork, where the threads of the old one do not exist."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._start()
        return self._queue

    def _submit(self, given: Any, until: float, deadline_ms: float | None, options: dict[str, Any]) -> Future[Any]:
        queue = self._alive()
        queue.refuse_if_closed()
        request = self._prepare(given, **options)
        waiting = _Waiting(request=request, deadline=until, deadline_ms=deadline_ms)
        queue.put(waiting)
        return waiting.future


class _Waiting:
    """A request in the queue. Times in seconds of the monotonic clock."""

    __slots__ = ("arrived", "deadline", "deadline_ms", "future", "request")

    def __init__(self, *, request: Request, deadline: float, deadline_ms: float | None) -> None:
        self.request = request
        self.deadline = deadline
        self.deadline_ms = deadline_ms
        self.arrived = 0.0
        self.future: Future[Any] = Future()


class _Queue:
    """What waits, and the work of the threads that answer it.

    Futures are never completed while the lock is held: their callbacks are the caller's code, and may submit.
    """

    def __init__(self, run: Run, policy: Policy) -> None:
        self._run, self._policy = run, policy
        self._lock = threading.Lock()
        self._work_to_do = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._waiting: dict[_Waiting, None] = {}  # in the order of arrival
        self._deadlines = 0  # of those that wait
        # Each request is a batch of its own, then the oldest one is all there is to plan.
        self._planned = PLANNED if policy.token_budget > 1 else 1
        self._closed = False
        self._admitting: ThreadPoolExecutor | None = None

    def refuse_if_closed(self) -> None:
        """Raises EngineClosed after close()."""
        if self._closed:
            raise EngineClosed(CLOSED)

    def admit(self, submit: Callable[..., Future[Any]], *arguments: Any) -> Future[Future[Any]]:
        """Call `submit` in a thread that may block."""
        with self._lock:
            self.refuse_if_closed()
            if self._admitting is None:
                self._admitting = ThreadPoolExecutor(ADMITTING_THREADS, thread_name_prefix="edgeplm-admitting")
            return self._admitting.submit(submit, *arguments)

    def put(self, waiting: _Waiting) -> None:
        """Add a request; blocks or raises as the policy says."""
        most = self._policy.max_waiting
        with self._lock:
            while not self._closed and len(self._waiting) >= most:
                if self._policy.when_full == "refuse":
                    raise Overloaded(
                        f"{most} requests are waiting already (max_waiting). Try again later, or allow more of them."
                    )
                left = waiting.deadline - time.monotonic()
                if left <= 0:
                    raise _late(waiting.deadline_ms)
                if not self._room.wait(None if left == inf else left) and len(self._waiting) < most:
                    self._room.notify()  # the room that was meant for this one goes to the next
            self.refuse_if_closed()
            waiting.arrived = time.monotonic()
            self._waiting[waiting] = None
            self._deadlines += waiting.deadline < inf
            self._work_to_do.notify()
        waiting.future.add_done_callback(lambda future: self._leave(waiting) if future.cancelled() else None)

    def close(self) -> None:
        """From now on nothing is taken; the threads end when all that waits is answered."""
        with self._lock:
            self._closed = True
            self._work_to_do.notify_all()
            self._room.notify_all()
            admitting = self._admitting
        if admitting is not None:
            admitting.shutdown(wait=False)

    def work(self) -> None:
        """Answer batch after batch until the queue is closed and empty: what each thread does."""
        while True:
            batch, expired = self._next()
            if not batch and not expired:
                return
            for waiting in expired:
                if waiting.future.set_running_or_notify_cancel():
                    waiting.future.set_exception(_late(waiting.deadline_ms))
            self._answer([waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()])

    def _next(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """The batch to run now, and what waited past its deadline; blocks until there is either, or the end."""
        with self._lock:
            while self._waiting or not self._closed:
                now = time.monotonic()
                # Looking at all that waits costs as much as a short graph call: only where there are deadlines.
                expired = [w for w in self._waiting if w.deadline <= now] if self._deadlines else []
                batch, due = self._due([w for w in islice(self._waiting, self._planned) if w.deadline > now], now)
                if batch or expired:
                    self._take([*batch, *expired])
                    self._work_to_do.notify()  # for another thread, where more waits
                    return batch, expired
                if self._deadlines:
                    due = min([due, *(waiting.deadline for waiting in self._waiting)])
                self._work_to_do.wait(None if due == inf else max(0.0, due - now))
            return [], []

    def _due(self, candidates: list[_Waiting], now: float) -> tuple[list[_Waiting], float]:
        """A batch that need not wait any longer, the oldest request's first; or none, and when it has to go."""
        if not candidates:
            return [], inf
        budget = self._policy.token_budget
        due = candidates[0].arrived + self._policy.max_delay_ms / 1e3
        # Where more wait than are planned at a time, no batch gains by waiting.
        crowded = len(candidates) >= self._planned
        lengths = [waiting.request.length for waiting in candidates]
        for batch in sorted(plan(lengths, budget=budget, padding=self._policy.call_tokens), key=min):
            longest = max(lengths[position] for position in batch)
            if crowded or now >= due or self._closed or (len(batch) + 1) * longest > budget:
                return [candidates[position] for position in batch], due
        return [], due

    def _take(self, gone: Sequence[_Waiting]) -> None:
        for waiting in gone:
            del self._waiting[waiting]
            self._deadlines -= waiting.deadline < inf
        self._room.notify(len(gone))

    def _leave(self, waiting: _Waiting) -> None:
        """A cancelled request makes room at once."""
        with self._lock:
            if waiting in self._waiting:
                self._take([waiting])

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Complete the futures of a batch. If it fails, each request is run alone, so that the error is its own."""
        if not batch:
            return
        try:
            answers = self._run([waiting.request for waiting in batch])
        except BaseException as error:  # whatever it is: a thread that ended would lose all that waits
            if len(batch) == 1 or isinstance(error, EngineClosed):
                for waiting in batch:
                    waiting.future.set_exception(error)
                return
            for waiting in batch:
                self._answer([waiting])
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.deadline <= time.monotonic():
                waiting.future.set_exception(_late(waiting.deadline_ms))
            else:
                waiting.future.set_result(answer)


def _end(queue: _Queue, threads: Sequence[threading.Thread], pid: int) -> None:
    """Close the queue and wait for its threads; not in a forked child, where neither is at work."""
    if pid != os.getpid():
        return
    queue.close()
    for thread in threads:
        if thread is not threading.current_thread():  # a callback of a Future may let go of the last reference
            thread.join()


def _deadline(deadline_ms: float | None) -> float:
    """When it is over, in seconds of the monotonic clock."""
    if deadline_ms is None:
        return inf
    if not is_duration(deadline_ms, per_second=1e3) or deadline_ms == 0:
        raise BadInput(f"deadline_ms is {deadline_ms!r}; give milliseconds above 0, or None for no limit.")
    return time.monotonic() + deadline_ms / 1e3


def _late(deadline_ms: float | None) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within deadline_ms, {deadline_ms:g} ms. Allow more time, or send less at once.")


def _cancel_what_it_made(admitted: Future[Future[Any]]) -> None:
    if not admitted.cancelled() and admitted.exception() is None:
        admitted.result().cancel()
